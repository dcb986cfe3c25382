"""Other forms of an output: files for other programs, tables and search indexes."""
