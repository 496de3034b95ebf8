"""The table of sinks.

To add one, write a class that implements `Sink` and add it to `SINKS` by the scheme of its URIs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explr.tracking.shipping.sink import Sink


def _mlflow(uri: str) -> Sink:
    from explr.tracking.mlflow.sink import MLflowSink

    return MLflowSink(uri)


SINKS: dict[str, Callable[[str], Sink]] = {"": _mlflow}
"""Sinks by the scheme of their tracking URIs; "" has all others, since MLflow knows a dozen."""


def sink_for(uri: str) -> Sink:
    """The sink that a tracking URI names; nothing is opened yet.

    Args:
        uri: tracking URI.
    """
    return SINKS.get(uri.partition(":")[0], SINKS[""])(uri)
