"""The command `explr`: a bare first word is a subcommand, everything else belongs to Hydra."""

from __future__ import annotations

import os
import re
import sys

from explr.runner.cli.completion.scripts import COMPLETION_VARIABLE
from explr.utils.gc import postpone_collection, resume_collection


def main() -> None:
    """Run the command line and exit.

    Raises:
        SystemExit: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
    """
    postpone_collection()
    arguments = sys.argv[1:]
    line = os.environ.pop(COMPLETION_VARIABLE, None)
    if line is not None:  # called by a shell's completion script, see `explr completion`
        from explr.runner.cli.completion.candidates import print_candidates

        print_candidates(line)
        return
    if arguments and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", arguments[0]):
        from explr.runner.cli.commands import run_subcommand

        resume_collection()
        sys.exit(run_subcommand(arguments))
    from explr.runner.cli.app import run_command_line

    sys.exit(run_command_line(arguments))


if __name__ == "__main__":
    main()
