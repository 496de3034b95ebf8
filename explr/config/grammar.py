"""Values and texts in Hydra's override grammar."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from explr.config.hydra_private import admit_null

admit_null()

CLOSING = {"(": ")", "[": "]", "{": "}"}
"""Brackets of the grammar."""


def literal(value: Any) -> str:
    """A value in Hydra's override grammar, such that parsing it gives the value back."""
    return _written(value, quoted)


def word(value: Any) -> str:
    """The same, with its texts as plain words without quotes where they can be."""
    return _written(value, _word)


def _written(value: Any, text: Callable[[str], str]) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{_key(str(k))}:{_written(v, text)}" for k, v in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(item, text) for item in value) + "]"
    return text(str(value))


def _key(text: str) -> str:
    """A key of a mapping, which Hydra's grammar takes without quotes only."""
    return re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", text)


def quoted(text: str) -> str:
    """A text in quotes of Hydra's override grammar."""
    from hydra.core.override_parser.types import Quote

    return QuotedString(text, Quote.double).with_quotes()


@lru_cache
def _word(text: str) -> str:
    """A text without quotes, if it is a plain word to Hydra's grammar."""
    if re.fullmatch(r"[A-Za-z_][\w/.@-]*", text, re.ASCII):
        parsed = OverridesParser.create().parse_override(f"key={text}").value()
        if parsed == text:
            return text
    return quoted(text)


def plain(value: Any) -> Any:
    """A parsed value without Hydra's own types."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    return value


def grammar_fault(override: str) -> str | None:
    """Why Hydra's grammar refuses an override, and how to write it; None if it does not."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException as error:
        return f"{override} cannot be read{_reason(override, error)}"
    return None


def _reason(override: str, error: HydraException) -> str:
    at = getattr(error.__cause__, "startIndex", None)  # of a sign that begins nothing
    if isinstance(at, int):
        return _foreign_sign(override, at)
    if within := re.search(r"input '([\"'].*)' expecting", str(error)):  # quotes within a text
        return _foreign_sign(override, override.index(within[1]))
    _, evaluating, said = str(error).partition(" while evaluating ")
    if evaluating:
        return _function_fault(override, said.partition("': ")[2])
    if (bracket := _brackets(override)[1]) is not None:
        return f" at {bracket}: it has no counterpart; quote a text that has brackets"
    if re.search(r"[,(\[{:]\s*,|,\s*([)\]}]|$)", override):
        return " at ,: a value is missing beside it; quote a text that has commas"
    if override.lstrip("+~").partition("=")[2].startswith("="):
        return ": one = stands between key and value; quote a text that has more"
    if "positional argument follows keyword argument" in str(error):
        return _function_fault(override, "a keyword argument")
    return f": {str(error).splitlines()[0]}; quote a text that has special characters"


def _foreign_sign(override: str, at: int) -> str:
    sign, start, end = override[at], at, at + 1
    if "=" not in override[:at]:
        return f" at {sign}: a key has letters, digits, _, -, /, @, $ and dots"
    while override[start - 1] not in ",()[]{}=":
        start -= 1
    if sign in "\"'" and not override[start:at].strip():
        return f" at {sign}: the quote is not closed"
    while end < len(override) and override[end] not in ",()[]{}":
        end += 1
    if _brackets(override[:at])[0][-1:] == ["{"] and ":" not in override[start:at]:
        return f" at {sign}: a key of a mapping cannot have this sign"
    return f" at {sign}: quote the text, as in {quoted(override[start:end].strip())}"


ELSEWHERE = {
    "uniform": "interval({})",
    "suggest_float": "interval({})",
    "float_range": "interval({})",
    "loguniform": "tag(log, interval({}))",
    "log_uniform": "tag(log, interval({}))",
    "log": "tag(log, interval({}))",
    "randint": "int(interval({}))",
    "int_uniform": "int(interval({}))",
    "suggest_int": "int(interval({}))",
    "lograndint": "tag(log, int(interval({})))",
    "quniform": "range({})",
    "linspace": "range({})",
    "arange": "range({})",
    "grid_search": "choice({})",
    "categorical": "choice({})",
    "suggest_categorical": "choice({})",
    "options": "choice({})",
}
"""Functions of other libraries, as the grammar has them."""


def _as_here(override: str, function: str) -> str | None:
    """A range that is written with a function of another library; None for no such function."""
    if (form := ELSEWHERE.get(function)) is None:
        return None
    key, _, text = override.partition("=")
    given = re.fullmatch(rf"\s*{function}\(\[?([^()\[\]]*)\]?\)\s*", text)
    ends = "VALUE,VALUE" if "choice" in form else "LOW,HIGH,STEP" if "range" in form else "LOW,HIGH"
    return f"{key}={form.format(given[1] if given and given[1] else ends)}"


def _function_fault(override: str, reason: str) -> str:
    unknown = re.match(r"Unknown function '(.*)'\s+Available: (.*)", reason)
    if unknown and (meant := _as_here(override, unknown[1])):
        return f": there is no function {unknown[1]}; write {meant}"
    if unknown:
        near = difflib.get_close_matches(unknown[1], functions := unknown[2].strip().split(","), 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(functions)};"
        return f": there is no function {unknown[1]}; {hint} quote a text that has brackets"
    named = re.search(r"[(,]\s*([A-Za-z_][\w-]*\s*=[^,()\[\]{}]*)", override.partition("=")[2])
    if "keyword argument" in reason and named:
        return f" at =: it names an argument; quote a text, as in {quoted(named[1].strip())}"
    return f": {' '.join(reason.split())}"


def _brackets(text: str) -> tuple[list[str], str | None]:
    """The brackets outside of quotes that are open at the end, and the first that is odd."""
    opened: list[str] = []
    for sign in re.sub(r"""("|\')(\\.|(?!\1).)*\1|\\.""", "", text):
        if sign in CLOSING:
            opened.append(sign)
        elif sign in CLOSING.values():
            if not opened or CLOSING[opened[-1]] != sign:
                return opened, opened[-1] if opened else sign
            opened.pop()
    return opened, opened[-1] if opened else None
