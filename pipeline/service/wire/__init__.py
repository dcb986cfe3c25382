"""What goes over the wire: request bodies, answers, refusals, and what of them may be shown."""
