"""Candidates of any form to Parquet that a layout reads: converted, joined with texts, sorted."""
