"""The command `explr`: a bare word first is a subcommand, everything else is Hydra's."""

from __future__ import annotations

import re
import sys


def main() -> None:
    """Run the command line and exit.

    Raises:
        SystemExit: always: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
    """
    arguments = sys.argv[1:]
    if arguments and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", arguments[0]):
        from explr.runner.commands import run_subcommand

        sys.exit(run_subcommand(arguments))
    from explr.runner.main import run_command_line

    sys.exit(run_command_line(arguments))


if __name__ == "__main__":
    main()
