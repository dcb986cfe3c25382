"""The subcommands: each parses, calls the library, and prints."""
