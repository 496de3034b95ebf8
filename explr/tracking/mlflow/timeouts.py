"""How long a request to MLflow may take: MLflow reads that from the environment each time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from explr.tracking.mlflow.variables import DEFAULTS
from explr.tracking.shipping.sink import SinkSlow
from explr.utils.environment import environment

VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
SHORT_S = int(DEFAULTS[VARIABLE])
"""Time-out of a request, unless `VARIABLE` is set: a server that is gone is noticed soon."""
LONGEST_S = 120
"""A request that timed out may take twice as long the next time, and up to this."""
SLOW_LINE = 1_000_000
"""Bytes a second in which a file gets to its store at least, over the server."""


class Patience:
    """Gives requests a short time-out, and a longer one once the server turns out to be slow."""

    def __init__(self) -> None:
        self._limit_s = 0

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Limit the requests in the block.

        Raises:
            SinkSlow: a request timed out, and the next one may take longer.
        """
        shortest_s = _set_by_user()
        limit_s = max(shortest_s, self._limit_s)
        begun = time.monotonic()
        try:
            with time_out(limit_s):
                yield
        except Exception as error:
            longer_s = min(2 * limit_s, LONGEST_S)
            if longer_s <= limit_s or not _timed_out(error):
                raise
            self._limit_s = longer_s
            raise SinkSlow(f"no answer within {limit_s} s") from error
        if time.monotonic() - begun < shortest_s / 2:
            self._limit_s = 0


def time_out(seconds: int) -> AbstractContextManager[None]:
    """Give the requests in the block a time-out."""
    return environment({VARIABLE: str(seconds)})


def upload_limit_s(size: int) -> int:
    """Time-out of the upload of a file.

    Args:
        size: its size in bytes.
    """
    return max(LONGEST_S, size // SLOW_LINE, _set_by_user())


def _set_by_user() -> int:
    return int(os.environ.get(VARIABLE) or SHORT_S)


def _timed_out(error: BaseException | None) -> bool:
    from requests.exceptions import ConnectTimeout, Timeout

    while error is not None:
        if isinstance(error, Timeout):  # a server that takes no connection is not slow but gone
            return not isinstance(error, ConnectTimeout)
        error = error.__cause__ or error.__context__
    return False
