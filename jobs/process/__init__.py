"""The process: its signals and its memory allocators."""
