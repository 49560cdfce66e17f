"""The command line: verbs, and what a terminal is shown."""
