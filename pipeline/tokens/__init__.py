"""Token counts before sending: sound upper bounds, exact counts, cuts and passages."""
