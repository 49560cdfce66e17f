"""Statistics: pure, numbers in, records out."""
