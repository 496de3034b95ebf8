"""Takes secrets out of the command line that other users see in the list of processes."""

from __future__ import annotations

import shlex
import sys

from explr.core.secrets.masking import redacted_arguments


def hide_command_line() -> None:
    """Show the command line of this process without its secrets from now on.

    Until then, for the fraction of a second that Python takes to start, the system shows it whole.
    """
    shown = redacted_arguments(sys.orig_argv)
    if shown != sys.orig_argv:
        from setproctitle import setproctitle

        setproctitle(shlex.join(shown))
