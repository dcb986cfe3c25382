"""Parquet out: the parts of an output, what it is, and how it is read again."""
