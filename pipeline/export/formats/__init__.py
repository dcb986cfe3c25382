"""One file a format: rows of whole queries in, bytes of a file out."""
