"""Which keys name a secret: by the parts of their words, and by what they are set to.

The words are those of the keys that people set: environment variables of services, options of
command lines, and the configs of public trainings. `tests/core/config_keys.py` has 300 of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

SECRET_NAMES, HARMLESS_NAMES = "EXPLR_SECRET_NAMES", "EXPLR_HARMLESS_NAMES"
"""Variables with more names, separated by commas; processes that are started inherit them."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_ANYWHERE = re.compile(
    r"\w*(?:passw(?:or)?d|passphrase|passcode|credential|apikey|secretkey|accesskey|privatekey"
    r"|authtoken|accesstoken|apitoken|secrettoken)s?|\w*secrets?|secret\w*(?<!secretary)|creds?"
    r"|pwds?|\w{2,}(?<!old)pwd"
)
"""Words that make a key a secret wherever they stand in it."""
_LAST = re.compile(r"authorization|bearer|jwts?|cookies?|(?:mysql|pg|ssh|db|user|ftp|smtp)pass|dsn")
"""Words that make it one at its end."""
_KEYS = re.compile(
    r"api|access|private|auth|authentication|encryption|decryption|signing|ssh|account|secret"
    r"|licen[sc]e|master|hmac|gpg|pgp|rsa|deploy|vault|aes|fernet"
    r"|openai|anthropic|azure|aws|gcp|google|gemini|mistral|cohere|groq|wandb|mlflow|comet|neptune"
    r"|clearml|swanlab|hf|huggingface|github|gitlab|stripe|slack|sentry|datadog|grafana|pinecone"
    r"|weaviate|langchain|langsmith|tavily|serpapi|kaggle|roboflow|dagshub|databricks|deepseek"
    r"|fireworks|perplexity|nvidia|ngc|twilio|sendgrid|elevenlabs"
)
"""Words before `key` with which it is a secret, whatever its value."""
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
_PASSES = re.compile(
    r"forward|backward|low|high|band|all|one|two|single|double|multi|first|second|last|num|n|max"
    r"|min|by|full|train|training|test|eval|per|each|every|render|inference"
)
"""Words before `pass` that make it a pass over something."""
_ENDS = re.compile(r"\w*(?<!by)(?<!com)(?<!over)(?<!under)(?<!tres)(?<!sur)(?<!tre)pass")

_ABOUT = frozenset(
    """
    file files filename path paths name names env dir folder type kind mode method scheme url uri
    endpoint length len size dim dims count num ttl timeout expiry expires expiration enabled
    required policy field column format version algorithm provider backend manager index idx usage
    limit rate weight loss ratio prob ids prompt strength arn
    """.split()  # noqa: SIM905 - twenty lines otherwise
)
"""Last words of a key that tells something about a secret, or where it is."""

_MARKER = re.compile(
    r"<[^<>\s]{0,40}>|\[[A-Z]{2,12}\d{0,3}\]|-?\d{1,7}(?:\.\d*)?|(?i:true|false|null|none)"
)
"""Values of models' tokens: `<|endoftext|>`, `[PAD]`, a number in a vocabulary, a count."""

_SWITCH = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?|(?i:true|false|yes|no|null|none)")
"""Values that turn something on or off, and numbers."""

_LOOKS = re.compile(
    r"(?:.*[^A-Za-z0-9])?(?=\w*\d\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{16,}[^\s]*"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)
"""Texts that look like a generated key: a long run of letters and digits, or a UUID."""

_NOT, _IF_IT_LOOKS, _UNLESS_MARKER, _UNLESS_NUMBER, _CERTAIN = range(5)


def is_secret(key: str, value: Any = None) -> bool:
    """Whether a key, dotted or not, names a secret or a part of one.

    Args:
        key: the key.
        value: its value, if it is known. It decides where the key alone does not: a `…_key` is a
            secret if its value looks generated, an `auth` or `pass` unless it is a switch or a
            number, and a `…_token` whose first word says neither that it is a secret nor that it
            belongs to a model unless the value looks like a model's token.
    """
    if isinstance(value, bool):
        return False
    certainty = _certainty(str(key), *_more_names())
    if certainty == _IF_IT_LOOKS:
        return isinstance(value, str) and _LOOKS.fullmatch(value.strip("'\"")) is not None
    if certainty == _UNLESS_MARKER:
        return not _is_marker(value)
    if certainty == _UNLESS_NUMBER:
        return not _is_switch_or_number(value)
    return certainty == _CERTAIN


def name_secrets(secret: Iterable[str] = (), harmless: Iterable[str] = ()) -> None:
    """Add names to those that explr knows, in this process and in those that it starts.

    Args:
        secret: keys whose values are secrets, dotted or not.
        harmless: keys whose values are none, whatever they are called.
    """
    for variable, names in ((SECRET_NAMES, secret), (HARMLESS_NAMES, harmless)):
        known = [name for name in os.environ.get(variable, "").split(",") if name]
        if new := [name for name in names if name not in known]:
            os.environ[variable] = ",".join([*known, *new])


def names_are_added() -> bool:
    """Whether there are names of secrets beside those that explr knows."""
    return bool(os.environ.get(SECRET_NAMES))


def _more_names() -> tuple[str, str]:
    return os.environ.get(SECRET_NAMES, ""), os.environ.get(HARMLESS_NAMES, "")


@lru_cache(maxsize=8192)
def _certainty(key: str, secret: str, harmless: str) -> int:
    if _is_among(key, harmless):
        return _NOT
    if _is_among(key, secret):
        return _CERTAIN
    parts = re.split(r"[./@:]", key)
    words = _WORDS.findall(parts[-1])
    if words and words[-1].lower() in _ABOUT:
        return _NOT
    return max(map(_certainty_of_part, parts))


def _is_among(key: str, names: str) -> bool:
    """Whether a key, or its last parts, is in a list of names."""
    wanted = (name.strip().lower() for name in names.split(","))
    return any(name and f".{key.lower()}".endswith(f".{name}") for name in wanted)


def _certainty_of_part(part: str) -> int:
    words = [word.lower() for word in _WORDS.findall(part)]
    if not words:
        return _NOT
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if last == "id" and before == "secret":  # of HashiCorp's Vault
        return _CERTAIN
    if last in _ABOUT or last == "id":
        return _NOT
    if any(_ANYWHERE.fullmatch(word) for word in words) or _LAST.fullmatch(last):
        return _CERTAIN
    if last in ("key", "keys"):
        return _CERTAIN if _KEYS.fullmatch(before) else _IF_IT_LOOKS
    if last.endswith("key") and _KEYS.fullmatch(last[:-3]):
        return _CERTAIN
    if last in ("token", "tokens") and _SERVICES.fullmatch(before):
        return _CERTAIN
    if last in ("auth", "pw", "otp", "private") or (last == "pat" and _SERVICES.fullmatch(before)):
        return _UNLESS_NUMBER
    if last == "pass":
        return _NOT if _PASSES.fullmatch(before) else _UNLESS_NUMBER
    if _ENDS.fullmatch(last) and not _PASSES.fullmatch(last[:-4]):
        return _UNLESS_NUMBER
    if last.endswith("token") and last != "token":
        return _CERTAIN if _SERVICES.fullmatch(last[:-5]) else _NOT
    if last != "token":
        return _NOT
    of_environment = part.isupper()
    if _VOCABULARY.fullmatch(before):
        return _UNLESS_MARKER if of_environment else _NOT
    return _CERTAIN if of_environment or not before else _UNLESS_MARKER


def _is_marker(value: Any) -> bool:
    if value is None or isinstance(value, float):
        return value is not None
    return _MARKER.fullmatch(str(value).strip("'\"")) is not None


def _is_switch_or_number(value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return True
    return _SWITCH.fullmatch(str(value).strip("'\"")) is not None
