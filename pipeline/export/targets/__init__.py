"""One file a system that results are loaded into."""
