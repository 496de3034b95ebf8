"""`python -m explr` is the command `explr`."""

from explr.runner.cli.main import main

main()
