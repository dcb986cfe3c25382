"""One request to its scores over HTTP: paced, within the budget, retried where that helps."""
