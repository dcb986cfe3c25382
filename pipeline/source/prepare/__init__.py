"""Prepare candidates of any form as Parquet that a layout reads: convert, join, sort."""
