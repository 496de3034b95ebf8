"""Finds secrets in settings and texts, and keeps them out of logs and files."""

from __future__ import annotations

import io
import logging
import os
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

MASK = "***"
"""Replacement for a secret."""

SHORTEST = 6
"""Minimum length of a secret that is searched in texts; shorter ones occur in many words."""

_ANYWHERE = re.compile(r"passw(?:or)?ds?|pwd|passphrase|secrets?|credentials?|apikey")
_KEYS = re.compile(r"api|access|private|auth|encryption|signing|ssh|account")
_HEADERS = re.compile(r"authorization|bearer|cookie")
_SERVICES = re.compile(
    r"o?auth|access|api|bearer|refresh|session|security|login|secret|personal|private|deploy|jwt|id"
    r"|[cx]srf|sas|ssh|client|app|bot|hf|hub|git(?:hub|lab)?|gh|docker|registry|npm|pypi|vault"
    r"|wandb|mlflow|neptune|comet|clearml|dagshub|databricks|openai|anthropic|aws|azure|gcp|google"
    r"|slack|discord|telegram"
)
"""Words before `token` with which it is a secret, whatever its value."""
_VOCABULARY = re.compile(
    r"pad|padding|[bes]o[sdtmiavp]|unk|unknown|oov|rare|mask|masked|cls|class|label|sep|separator"
    r"|delimiter|newline|special|added|extra|control|sentinel|dummy|placeholder|blank|null|empty"
    r"|begin|beginning|start|stop|end|first|last|prev|previous|new|next|fim|prefix|middle|suffix"
    r"|infill|think|thinking|reasoning|prompt|soft|question|answer|query|context|summary|memory"
    r"|register|latent|learned|learnable|global|local|dist|distill|distillation|object|obj|box|seg"
    r"|det|image|img|pixel|patch|frame|video|vision|visual|audio|speech|speaker|text|word|subword"
    r"|char|byte|language|lang|task|style|time|timestamps?|spatial|temporal|input|output|encoder"
    r"|decoder|draft|vocab|vocabulary|max|min|avg|mean|total|num|n|count|per|every|each"
)
"""Words before `token` that make it a term of language and vision models, not a secret."""
_MARKER = re.compile(
    r"<[^<>\s]{0,40}>|\[[A-Z]{2,12}\d{0,3}\]|-?\d{1,7}(?:\.\d*)?|(?i:true|false|null|none)"
)
"""Values of models' tokens: `<|endoftext|>`, `[PAD]`, a number in a vocabulary, a count."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Hydra escapes with backslashes.
_REFERENCE = re.compile(r"\$\\?\{.*\}", re.DOTALL)
_DEFAULT = re.compile(r"(\boc\.env\\?:\s*\w+\s*,)(?!\s*(?:null\s*\\?\}|\$\\?\{|\\?\}))[^{}\\]*")
_OVERRIDE = re.compile(r"([+~]{0,2}[\w./@:$-]+=)(.*)", re.DOTALL)
_USER_INFO = re.compile(
    r"""(?P<scheme>\b[a-zA-Z][\w+.-]*\\?://)"""
    r"""[^\s"'<>/@:]*(?::(?!\d{1,5}/)(?P<password>[^\s"'<>@]*))?@"""
)
_BARE = r"""(?:[^\s,;&|{}\[\]()'"\\]|\\.)"""
_VALUE = (
    r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\$\\?\{[^{}\s]*\}"""
    rf"""|<\|[\w ]*\|>(?!{_BARE})|{_BARE}+)"""
)
_PAIR = re.compile(
    rf"""(?P<start>(?P<key>[\w.-]*\w)=|(?:(?<=[{{,])\s*|['"])(?P<name>[\w.-]*\w)['"]?\s*:\s*)"""
    rf"""(?P<value>{_VALUE})"""
)

_known: set[str] = set()


def is_secret(key: str, value: Any = None) -> bool:
    """Whether a key, dotted or not, names a secret or a part of one.

    Args:
        key: the key.
        value: its value, if it is known. A `…_token` whose first word says neither that it is a
            secret nor that it belongs to a model is no secret if it looks like a model's token.
    """
    certainty = _certainty(key)
    return certainty == _CERTAIN or (certainty == _LIKELY and not _is_marker(value))


def remember(values: Any) -> None:
    """Remember the secrets in a mapping, so that they are masked in every text.

    Args:
        values: a mapping, nested or not; the values of keys that name secrets are remembered.
    """
    _collect(values, "")


def remember_environment() -> None:
    """Remember the secrets in environment variables; see `remember`."""
    for name, value in os.environ.items():
        if name != "PWD" and not os.path.exists(value):  # the path of a secret is not secret
            remember({name: value})


def remember_arguments(arguments: Iterable[str]) -> None:
    """Remember the secrets in a command line; see `remember`."""
    for text in arguments:
        if (override := _OVERRIDE.fullmatch(text)) is not None:
            remember({override[1].strip("+~="): override[2].strip("'\"")})


def redacted(value: Any, key: str = "") -> Any:
    """A copy of a value without secrets.

    Args:
        value: plain data: mappings, sequences, texts, numbers.
        key: the key of the value.

    Returns:
        The same shape, with `MASK` in place of secrets.
    """
    if isinstance(value, Mapping):
        below = f"{key}." if key and is_secret(key) else ""
        return {k: redacted(v, f"{below}{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item, key) for item in value]
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in _UNSET):
        return value
    if key and is_secret(key, value):
        return _without_value(value)
    return redacted_argument(value) if isinstance(value, str) else value


def redacted_argument(text: str) -> str:
    """An argument of a command line, or any text, without secrets."""
    if (override := _OVERRIDE.fullmatch(text)) is not None:
        name, value = override.groups()
        if is_secret(name.strip("+~="), value):
            return f"{name}{_without_value(value)}" if value else text
    return redacted_text(text)


def redacted_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line without secrets."""
    return [redacted_argument(text) for text in arguments]


def redacted_text(text: str) -> str:
    """A text, such as a message or a traceback, without secrets."""
    if "://" in text:
        text = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    if "=" in text or ":" in text:
        text = _PAIR.sub(_pair, text)
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def holds_remembered(text: str) -> bool:
    """Whether a text contains a remembered secret."""
    return any(secret in text for secret in _known)


def without_user_info(address: str) -> str:
    """A URL without user and password."""
    return _USER_INFO.sub(r"\g<scheme>", address)


def masked(arguments: Sequence[str]) -> list[str]:
    """Names of the overrides in `arguments` whose values are masked."""
    found = [override for text in arguments if (override := _OVERRIDE.fullmatch(text)) is not None]
    names = [override[1].strip("+~=") for override in found if MASK in override[2]]
    return list(dict.fromkeys(names))


def masked_keys(values: Mapping[Any, Any], prefix: str = "") -> list[str]:
    """Dotted keys of a nested mapping whose values are masked."""
    found: list[str] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found += masked_keys(value, f"{name}.")
        elif isinstance(value, str) and MASK in value:
            found.append(name)
    return found


_NOT, _LIKELY, _CERTAIN = range(3)
_UNSET = ("", "???")


@lru_cache(maxsize=4096)
def _certainty(key: str) -> int:
    return max(_certainty_of_part(part) for part in re.split(r"[./@:]", key))


def _certainty_of_part(part: str) -> int:
    words = [word.lower() for word in _WORDS.findall(part)]
    if not words or words[-1] in ("file", "path", "name", "env"):  # says where the secret is
        return _NOT
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if (
        any(_ANYWHERE.fullmatch(word) for word in words)
        or _HEADERS.fullmatch(last)
        or (last in ("key", "keys") and _KEYS.fullmatch(before))
        or (last in ("token", "tokens") and _SERVICES.fullmatch(before))
    ):
        return _CERTAIN
    if last != "token":
        return _NOT
    of_environment = part.isupper()
    if _VOCABULARY.fullmatch(before):
        return _LIKELY if of_environment else _NOT
    return _CERTAIN if of_environment or not before else _LIKELY


def _is_marker(value: Any) -> bool:
    if value is None or isinstance(value, float):
        return value is not None
    return _MARKER.fullmatch(str(value).strip("'\"")) is not None


def _without_value(value: Any) -> str:
    """The replacement for a secret; a reference to one is kept."""
    text = str(value).strip("'\"")
    if _REFERENCE.fullmatch(text):
        return _DEFAULT.sub(rf"\1{MASK}", str(value))
    return MASK


def _pair(found: re.Match[str]) -> str:
    value = found["value"]
    if value in ("null", "None", "???") or not is_secret(found["key"] or found["name"], value):
        return found[0]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{found['start']}{quote}{_without_value(value.strip(quote or None))}{quote}"


def _collect(value: Any, key: str) -> None:
    if isinstance(value, Mapping):
        for name, below in value.items():
            _collect(below, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, key)
    elif value is not None and not isinstance(value, bool) and is_secret(key, value):
        _keep(str(value))
    elif isinstance(value, str) and "://" in value:
        for found in _USER_INFO.finditer(value):
            _keep(found["password"] or "")


def _keep(secret: str) -> None:
    if len(secret) >= SHORTEST and MASK not in secret and not _REFERENCE.fullmatch(secret):
        _known.add(secret)


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
