"""Get the scores of a request over HTTP: paced, within the budget, retried where that helps."""
