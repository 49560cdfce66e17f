"""What the tool itself costs: processor time, memory and start-up. `python -m bench --help`."""
