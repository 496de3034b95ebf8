"""Tells what MLflow or an artifact store refuses for good from what may succeed later."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator

from explr.core.errors import one_line
from explr.tracking.shipping.sink import Refused

FOR_GOOD = (404, 405, 410, 411, 413, 414, 415, 422, 431, 451)
"""Statuses of an answer about one file: it is too large, or its name or content is not taken."""
FOR_NOW = (401, 407, 408, 425, 429)
"""Statuses from 400 to 499 that say nothing about a file."""
OF_ONE_FILE = (
    *(errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EFBIG),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
)
"""Errors of a file system that does not take one file: its name, its size, or that a folder is in
its place."""
NOT_OF_FILE = "API request to endpoint"
"""How an error begins if not MLflow but something before it has answered, and not about a file."""
TOO_LARGE = (413, 414, "EntityTooLarge", "KeyTooLongError")
"""Statuses, and what S3 says with status 400, which it also has for an expired token."""


BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
"""Codes of SQLite for a file that another connection has locked."""


def is_locked(error: BaseException) -> bool:
    """Whether another process has locked the SQLite file of a local store."""
    return any(
        isinstance(cause, sqlite3.OperationalError) and cause.sqlite_errorcode & 0xFF in BUSY
        for cause in _causes(error)
    )


def refusal(error: BaseException) -> Refused | None:
    """What a failed upload says about its file; None if it says nothing.

    Args:
        error: what MLflow's client raised.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in OF_ONE_FILE:
            return Refused(str(cause.strerror))
        if isinstance(cause, UnicodeError):
            return Refused(one_line(cause))
        status, is_plain = _status(cause)
        if status is None:
            continue
        if not 400 <= status < 500 or status in FOR_NOW:
            return None
        certain = is_plain and (status in FOR_GOOD or status == 400)
        certain |= status in TOO_LARGE or _code(cause) in TOO_LARGE
        return Refused(_text(cause, status), certain)
    return None


def _status(error: BaseException) -> tuple[int | None, bool]:
    """The HTTP status in an error of any library, and whether it means what it says.

    A store in a cloud has 400 or 404 for a wrong bucket too, and a proxy has 400 for a connection
    that was cut off.
    """
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException
    from requests import HTTPError

    if isinstance(error, MlflowException):
        if str(error).startswith(NOT_OF_FILE):
            return 500, True
        return ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, 500), True
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # boto3's
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), False
    if isinstance(error, HTTPError) and response is not None:
        status = response.status_code
        return status, status != 400 or b"error_code" in response.content
    status = getattr(error, "status_code", getattr(error, "code", None))
    return (status if isinstance(status, int) else None), False


def _code(error: BaseException) -> str:
    """The code of an error of boto3's."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code")) if isinstance(response, dict) else ""


def _text(error: BaseException, status: int) -> str:
    """The status and its meaning; what a proxy sends with it may be a page of HTML."""
    reason = getattr(getattr(error, "response", None), "reason", None)
    return f"{status} {reason}" if reason else one_line(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
