"""Bodies of requests and answers, and the meaning of refusals; pure functions of bytes."""
