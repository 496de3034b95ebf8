"""Takes secrets out of the command line that other users see in the list of processes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection

from explr.core.secrets.masking import redacted_arguments, remember_arguments
from explr.core.secrets.names import name_secrets

_shown: list[str] = []


def hide_command_line() -> None:
    """Show the command line of this process without its secrets from now on.

    Until then, for the fraction of a second that Python takes to start, the system shows it whole.
    """
    shown = redacted_arguments(sys.orig_argv)
    if shown != sys.orig_argv and shown != _shown:
        from setproctitle import setproctitle

        setproctitle(shlex.join(shown))
        _shown[:] = shown


def take_names(secret: Collection[str], harmless: Collection[str]) -> None:
    """Hide what a config names, also where the command line of this process has given it.

    Args:
        secret: keys whose values are secrets.
        harmless: keys whose values are none.
    """
    if secret or harmless:
        name_secrets(secret, harmless)
        remember_arguments(sys.argv[1:])
        hide_command_line()
