"""The report: summary.json in types, and the page made of it."""
