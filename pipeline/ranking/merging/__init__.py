"""Several requests, one ranking: merging their scores."""
