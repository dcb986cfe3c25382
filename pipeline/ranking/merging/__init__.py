"""The scores of several requests for one query to one ranking."""
