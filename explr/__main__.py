"""`python -m explr` is the command `explr`."""

from explr.runner.cli import main

main()
