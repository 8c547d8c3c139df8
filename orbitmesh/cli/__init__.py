"""The command line: thin, on top of the public API."""
