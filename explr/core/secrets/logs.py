"""Keeps secrets out of what a process logs."""

from __future__ import annotations

import io
import logging
import traceback
from typing import Any

from explr.core.secrets.masking import redacted_text, remember_environment

_factory = logging.getLogRecordFactory()


def guard_logs() -> None:
    """Mask secrets in all messages and tracebacks that this process logs from now on."""
    remember_environment()
    logging.setLogRecordFactory(_record)


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _factory(*args, **kwargs)
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - logging itself reports arguments that do not fit
        return record
    if (clean := redacted_text(text)) != text:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[0] is not None:
        written = io.StringIO()
        traceback.print_exception(*record.exc_info, file=written)
        whole = written.getvalue().removesuffix("\n")
        if (clean := redacted_text(whole)) != whole:
            record.exc_text = clean  # formatters use it instead of their own text
    return record
