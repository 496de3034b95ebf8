"""Secrets that are known by their shape, whatever their key: users in URLs, headers, keys."""

from __future__ import annotations

import base64
import binascii
import re

from explr.core.secrets.mask import MASK

_USER_INFO = re.compile(
    r"""(?P<scheme>\b[a-zA-Z][\w+.-]{0,30}\\?:(?://|%2[Ff]%2[Ff]))"""
    r"""[^\s"'<>/@:]{0,1000}(?::(?!\d{1,5}/)(?P<password>[^\s"'<>@]{0,1000}))?@"""
)
"""What stands before the host of a URL."""

_HEADER = re.compile(
    r"""(?P<scheme>\b(?:[Bb]earer|BEARER|[Bb]asic|BASIC|Token|ApiKey)(?:\s+|%20|\+))"""
    r"""(?P<value>[\w.~+/=-]{8,})"""
)
"""What follows the scheme of an `Authorization` header."""

_PEM = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----"
    r".*?(?:-----END (?P=kind)-----|(?=[^\w\s+/=:,.\\-]|\Z))",
    re.DOTALL,
)

_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_](?=[\w-]*\d)[\w-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}"
    r"|(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"  # Amazon
    r"|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}"  # Slack
    r"|AIza[\w-]{20,}|ya29\.[\w-]{16,}"  # Google
    r"|npm_[A-Za-z0-9]{16,}|pypi-[\w-]{16,}|dckr_pat_[\w-]{16,}|dop_v1_[a-f0-9]{16,}"
    r"|dapi[a-f0-9]{16,}|nvapi-[\w-]{16,}|r8_[A-Za-z0-9]{16,}|gsk_[A-Za-z0-9]{16,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|lsv2_\w{16,}|tvly-[\w-]{16,}|wandb_v1_\w{16,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"  # a JSON web token
    r")"
)
"""Keys that their services begin with a prefix."""

_HOOK = re.compile(
    r"(?P<place>hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/)[\w/-]+"
)
"""Addresses that anybody who knows them may post to."""

_TELLING = re.compile(
    r"://|%2[Ff]|\b(?i:bearer|basic)\b|Token |ApiKey |PRIVATE KEY|[A-Za-z0-9][-_.][\w-]{8}"
    r"|A[KSR][IO]A|AIDA|AIza|dapi"
)
"""What a text with one of them has; most texts have none, and are not searched further."""


def without_shapes(text: str) -> str:
    """A text with `MASK` in place of what looks like a secret."""
    if not _TELLING.search(text):
        return text
    text = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    text = _PEM.sub(MASK, text)
    text = _HEADER.sub(_header, text)
    text = _PREFIXED.sub(MASK, text)
    return _HOOK.sub(rf"\g<place>{MASK}", text)


def without_user_info(address: str) -> str:
    """A URL without user and password."""
    return _USER_INFO.sub(r"\g<scheme>", address)


def passwords_in(text: str) -> list[str]:
    """The passwords of the URLs in a text."""
    if "://" not in text:
        return []
    return [found["password"] for found in _USER_INFO.finditer(text) if found["password"]]


def _header(found: re.Match[str]) -> str:
    scheme, value = found["scheme"], found["value"]
    if scheme[0] in "bB" and scheme[1] in "aA":
        is_secret = _is_user_info(value)
    else:
        is_secret = not re.fullmatch(r"[A-Za-z]?[a-z]+(?:[-./][a-z]+)*[.]?", value)
    return f"{scheme}{MASK}" if is_secret else found[0]


def _is_user_info(value: str) -> bool:
    """Whether a value is `user:password` in base64, as the scheme `Basic` has it."""
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
