"""The wire: request bodies, answers, refusals, and the redaction of their messages."""
