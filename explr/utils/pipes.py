"""Output whose reader may leave: `explr … | head` has read enough, the training has not."""

from __future__ import annotations

import io
import os
import stat
import sys


class _Lasting(io.TextIOWrapper):
    """A stream into a pipe; what is written after its reader has gone goes nowhere."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_readers() -> None:
    """Have this process go on when what reads its standard output or error ends first."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper or not _is_pipe(stream):
            continue
        kept = (stream.encoding, stream.errors, None, stream.line_buffering, stream.write_through)
        lasting = _Lasting(stream.detach(), *kept)
        setattr(sys, name, lasting)
        setattr(sys, f"__{name}__", lasting)


def _is_pipe(stream: io.TextIOWrapper) -> bool:
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
