"""`python -m hiddenrisk`."""

from hiddenrisk.cli import main

main()
