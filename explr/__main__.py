"""`python -m explr` is the command `explr`."""

import os
import sys

if sys.path[:1] == [os.getcwd()]:  # by `-m`; as with the command `explr`, it is added in its turn
    del sys.path[0]

from explr.runner.cli.main import main

main()
