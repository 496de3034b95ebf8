"""Takes secrets out of settings, command lines and texts, wherever they are spelled."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from explr.core.secrets.mask import MASK
from explr.core.secrets.names import is_secret, names_are_added
from explr.core.secrets.shapes import passwords_in, without_shapes
from explr.core.secrets.spellings import spellings, split_over_lines

SHORTEST = 8
"""Minimum length of a secret that is searched in texts; shorter ones occur in many words."""

# Hydra escapes with backslashes.
_REFERENCE = re.compile(r"\$\\?\{.*\}", re.DOTALL)
_DEFAULT = re.compile(r"(\boc\.env\\?:\s*\w+\s*,)(?!\s*(?:null\s*\\?\}|\$\\?\{|\\?\}))[^{}\\]*")
_OVERRIDE = re.compile(r"([+~]{0,2}[\w./@:$-]+=)(.*)", re.DOTALL)

_QUOTED = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_BARE = r"""(?:[^\s,;&|{}\[\]()'"\\]|\\.)"""
_VALUE = rf"(?:{_QUOTED}|\$\\?\{{[^{{}}\s]*\}}|<\|[\w ]*\|>(?!{_BARE})|{_BARE}+)"
_WORD = r"(?P<key>[\w.-]++(?<=\w))"  # possessive: a long word is read once
_KEY = rf"(?<![\w.-]){_WORD}"

_SETTINGS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # code: API_KEY = "…", token: str = '…', environ["PASSWORD"] = """…"""
        rf"""(?P<start>{_KEY}['"]?\]?(?:\s*:\s*[\w.\[\]| ]+)?\s*=\s*[rbfu]?)"""
        rf"""(?P<value>\"{{3}}.*?\"{{3}}|'{{3}}.*?'{{3}}|{_QUOTED})""",
        # code: getenv("API_KEY", "…")
        rf"""(?P<start>\(\s*['"]{_KEY}['"]\s*,\s*)(?P<value>{_QUOTED})(?=\s*\))""",
        # a mapping: {password: open sesame}
        rf"""(?P<start>(?<=[{{,])\s*{_KEY}\s*:\s*)"""
        r"""(?P<value>[^\s,{}\[\]'"$<][^,{}\[\]'"\n]*)(?=[,}])""",
        # password=…, {password: …}, 'password': …
        rf"""(?P<start>{_KEY}=)(?P<value>{_VALUE})""",
        rf"""(?P<start>(?:(?<=[{{,])\s*|['"]){_KEY}['"]?\s*:\s*)(?P<value>{_VALUE})""",
        # an option: --password …; a line of a Dockerfile: ENV PASSWORD …
        rf"""(?P<start>(?:(?<!\S)--|\bENV\s+){_WORD}\s+)(?P<value>(?!-){_VALUE})""",
    )
]
"""Settings within texts."""

_LINE = re.compile(
    rf"""^(?P<start>[+-]?[ \t]*+(?:-[ \t]+|export[ \t]+)?{_WORD}[ \t]*(?P<sign>[:=])[ \t]+)"""
    rf"""(?P<value>[^\s|>&*!].*?)(?=[ \t\r]*$)""",
    re.MULTILINE,
)
"""Lines of YAML and of ini files, also in a diff."""
_TYPE = re.compile(
    r"(?:str|int|bool|float|bytes|object|Any|None|SecretStr|Path|(?:\w+\.)*Tensor"
    r"|(?:Optional|list|dict|tuple|set|Sequence|Mapping|Callable)\b.*)(?:\s*\|.*)?,?"
)
"""Types after the name of a field or parameter."""

_HEADERS = re.compile(
    r"""(?P<start>\b(?i:(?:proxy-)?authorization|x-api-key|(?:set-)?cookie)['"]?\s*[:=]\s*['"]?)"""
    r"""(?P<value>(?!\*{3})[^\s,}\])'"\\$][^,}\])'"\\\n]*)"""
)
"""Headers of HTTP, whose values have blanks."""

_TELLING = re.compile(
    r"^[^:=\n]*(?:pass|pwd|secret|token|cred|auth|bearer|jwt|private|key|cookie|dsn|otp|pw\b)"
    r"(?![^:=\n]*: (?:\[\]|\{\}|null|true|false|''|\?\?\?|\$\{[\w.]+\})$)",
    re.IGNORECASE | re.MULTILINE,
)
"""What a YAML file with a secret's name holds, unless nothing stands there, or the name of another
setting; most files hold none of it, and are not parsed."""


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
        above = f"{key}." if key else ""
        return {k: redacted(v, f"{above}{k}") for k, v in value.items()}
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
    """A text, such as a message, a traceback or a diff, without secrets."""
    if any(sign in text for sign in ("=", ":", "(", "--", "ENV ")):
        text = _HEADERS.sub(rf"\g<start>{MASK}", text)
        for pattern in _SETTINGS:
            text = pattern.sub(_setting, text)
        text = _LINE.sub(_line, text)
    text = without_shapes(text)
    for spelled in _known.spelled:
        if spelled in text:
            text = text.replace(spelled, MASK)
    for pattern in _known.patterns:
        text = pattern.sub(MASK, text)
    return text


def may_hold_secrets(text: str) -> bool:
    """Whether a text may hold a secret: one that is remembered, or the name or shape of one."""
    return names_are_added() or bool(_TELLING.search(text)) or redacted_text(text) != text


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


_UNSET = ("", "???")


def _without_value(value: Any) -> str:
    """The replacement for a secret; a reference to one is kept."""
    text = str(value).strip("'\"")
    if _REFERENCE.fullmatch(text):
        return _DEFAULT.sub(rf"\1{MASK}", str(value))
    return MASK


def _setting(found: re.Match[str]) -> str:
    value = found["value"]
    bare = value.strip("'\"")
    if bare in ("null", "None", "???", "", MASK) or not is_secret(found["key"], value):
        return found[0]
    if _TYPE.fullmatch(value):
        return found[0]
    quote = value[0] if value[0] in "'\"" else ""
    quote *= 3 if value.startswith(quote * 3) and len(value) > 5 and quote else 1
    inner = value[len(quote) : len(value) - len(quote)] if quote else value
    return f"{found['start']}{quote}{_without_value(inner)}{quote}"


def _line(found: re.Match[str]) -> str:
    value = found["value"]
    is_code = found["sign"] != ":" and not re.search(r"\d", value)
    if is_code or re.search(r"[(\[{\"']", value):
        return found[0]
    return _setting(found)


def _collect(value: Any, key: str) -> None:
    if isinstance(value, Mapping):
        for name, below in value.items():
            _collect(below, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, key)
    elif value is not None and not isinstance(value, bool) and is_secret(key, value):
        _known.add(str(value))
    elif isinstance(value, str):
        for password in passwords_in(value):
            _known.add(password)


class _Known:
    """The secrets that this process has met, in all their spellings."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.spelled: list[str] = []
        self.patterns: list[re.Pattern[str]] = []

    def add(self, secret: str) -> None:
        """Search for a secret from now on, unless texts would be spoiled by that."""
        secret = secret.strip()
        if secret in self.values or not _is_searched(secret):
            return
        self.values.add(secret)
        if secret.isdigit():  # digits stand in many numbers
            self.patterns.append(re.compile(rf"(?<![\w.]){secret}(?![\w.])"))
            return
        self.spelled = sorted({*self.spelled, *spellings(secret)}, key=len, reverse=True)
        if (pattern := split_over_lines(secret)) is not None:
            self.patterns.append(pattern)


_known = _Known()


def _is_searched(secret: str) -> bool:
    if len(secret) < SHORTEST or MASK in secret or _REFERENCE.fullmatch(secret):
        return False
    return not _is_of_a_path(secret) and not _is_a_word_of_ours(secret)


def _is_of_a_path(text: str) -> bool:
    """Whether a text is a part of the paths that this process works with."""
    try:
        places = (os.getcwd(), os.path.expanduser("~"), sys.prefix, tempfile.gettempdir())
    except OSError:  # the working directory is gone
        return False
    return any(text in place for place in (*places, os.environ.get("EXPLR_HOME", "")))


@lru_cache(maxsize=1024)
def _is_a_word_of_ours(text: str) -> bool:
    """Whether explr's own source, and so perhaps its output, has a text.

    Generated secrets have digits; only what has none is looked for in the files.
    """
    if len(text) > 24 or re.search(r"\d", text):
        return False
    root = Path(__file__).parents[2]
    files = (file for kind in ("*.py", "*.yaml") for file in root.rglob(kind))
    return any(text in file.read_text(encoding="utf-8") for file in files)
