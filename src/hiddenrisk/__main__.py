"""`python -m hiddenrisk`."""

from hiddenrisk.cli.main import main

main()
