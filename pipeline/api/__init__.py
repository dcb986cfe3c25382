"""The library as its users call it: options in, summaries and tables out."""
