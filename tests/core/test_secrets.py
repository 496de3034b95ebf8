import base64
import html
import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import yaml
from config_keys import HARMLESS, SECRET, SWITCHES

from explr.core.secrets import masking
from explr.core.secrets.mask import MASK
from explr.core.secrets.masking import masked, redacted, redacted_argument, redacted_text, remember
from explr.core.secrets.names import (
    HARMLESS_NAMES,
    SECRET_NAMES,
    is_secret,
    name_secrets,
)
from explr.core.secrets.shapes import without_user_info


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", masking._Known())


def test_no_key_of_a_secret_is_missed_and_hardly_another_is_taken_for_one() -> None:
    assert [key for key in SECRET if not is_secret(key, "Tr0ub4dor")] == []
    hidden = [key for key in HARMLESS if is_secret(key, "some text") or is_secret(key, 8)]
    assert len(hidden) <= 0.02 * len(HARMLESS), hidden
    assert [key for key in SWITCHES if is_secret(key, True)] == []


def test_a_key_of_anything_is_a_secret_if_its_value_looks_generated() -> None:
    generated = (
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "Zk3XPq9LmT2aVbN7",
        "id:Zk3XPq9LmT2aVbN7==",
    )
    assert all(is_secret("MAPS_KEY", value) for value in generated)
    usual = (
        "val_accuracy",
        "observation.images.top",
        "2026-11-30",
        "abcdefghijklmnopqrstuvwxyz",
        17,
    )
    assert not any(is_secret("MAPS_KEY", value) for value in usual)


def test_names_can_be_added_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_NAMES, "")
    monkeypatch.setenv(HARMLESS_NAMES, "")
    name_secrets(["door.pin", "floor"], ["api_key"])
    name_secrets(["hall"])
    given = {
        "door": {"pin": 4711},
        "floor": "cellar",
        "hall": "x",
        "pin": 5,
        "api_key": "none of it",
    }
    assert redacted(given) == {
        "door": {"pin": MASK}, "floor": MASK, "hall": MASK, "pin": 5, "api_key": "none of it",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    ["<|user|>", "<image>", "[PAD]", "</s>", "50256", "-1", 50256, 0, 0.5, True, None, "${x}"],
)
def test_a_token_of_a_model_is_known_by_its_value(value: Any) -> None:
    remember({"user_token": value})
    assert redacted({"user_token": value, "IMAGE_TOKEN": value}) == {
        "user_token": value, "IMAGE_TOKEN": value,
    }  # fmt: skip
    for text in (f"user_token={value}", f"{{'user_token': {value!r}}}"):
        assert redacted_argument(text) == text
    assert redacted_text(f"a text with {value}") == f"a text with {value}"


@pytest.mark.parametrize(
    "value",
    ["sesame", "0123456789", 12345678, "[abcdefgh]", "[abcdefgh,ijk]", "a b", "xoxb-17-secret"],
)
def test_any_other_value_of_an_unknown_token_is_a_secret(value: Any) -> None:
    assert redacted({"user_token": value, "IMAGE_TOKEN": [value]}) == {
        "user_token": MASK, "IMAGE_TOKEN": [MASK],
    }  # fmt: skip
    assert redacted_argument(f"user_token={value}") == f"user_token={MASK}"
    assert redacted({"auth_token": 5, "token": "[PAD]", "HF_TOKEN": "7"}) == {
        "auth_token": MASK, "token": MASK, "HF_TOKEN": MASK,
    }  # fmt: skip
    assert redacted({"image_token": value}) == {"image_token": value}


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("lr=0.1", "lr=0.1"),
        ("db.password=hunter2", "db.password=***"),
        ("+api.token='with blanks, and commas'", "+api.token=***"),
        ("++token=a,b", "++token=***"),
        ("db={user:me,password:hunter2,port:3}", "db={user:me,password:***,port:3}"),
        ("lr=1,db.password=hunter2,n=3", "lr=1,db.password=***,n=3"),
        ("password=${oc.env:X}", "password=${oc.env:X}"),
        ("password='${oc.env:X}'", "password='${oc.env:X}'"),
        ("password=${oc.env:X,null}", "password=${oc.env:X,null}"),
        ("password=${oc.env:X,hunter2}", "password=${oc.env:X,***}"),
        ("uri=postgresql://me:hunter2@host/db", "uri=postgresql://***@host/db"),
        ("https://me:hun/ter?2@host:5/x", "https://***@host:5/x"),
        ("db=postgresql\\://me\\:hunter2@host/db", "db=postgresql\\://***@host/db"),
        ("password=$\\{oc.env\\:X\\}", "password=$\\{oc.env\\:X\\}"),
        ("https://token@host", "https://***@host"),
        ("http://host:5000/#/a@b", "http://host:5000/#/a@b"),
    ],
)
def test_arguments(given: str, written: str) -> None:
    assert redacted_argument(given) == written
    assert redacted_argument(written) == written


def test_nested_settings_keep_their_shape() -> None:
    given = {
        "lr": 0.1,
        "db": {"password": "hunter2", "pin": None, "hosts": ["a", "https://me:x@b"]},
        "credentials": {"user": "me", "numbers": [1, 2]},
        "use_secret": True,
        "overrides": ["+token=hunter2", "lr=1"],
    }
    assert redacted(given) == {
        "lr": 0.1,
        "db": {"password": MASK, "pin": None, "hosts": ["a", "https://***@b"]},
        "credentials": {"user": MASK, "numbers": [MASK, MASK]},
        "use_secret": True,
        "overrides": ["+token=***", "lr=1"],
    }


def test_a_remembered_secret_is_found_in_any_text() -> None:
    remember({"db": {"password": "open sesame 17"}, "pwd": "on", "lr": "a learning rate"})
    assert redacted_text("ValueError: 'open sesame 17' is on, a learning rate") == (
        f"ValueError: '{MASK}' is on, a learning rate"
    )


def test_a_text_keeps_what_is_no_secret() -> None:
    text = "KeyError: 'password' at lr: 0.1, a=b, https://host/x and {'token': None}"
    assert redacted_text(text) == text


def test_what_was_hidden_can_be_named() -> None:
    assert masked(["a=1", "+db.password=***", "uri=http://***@h"]) == ["db.password", "uri"]


def test_addresses_without_users() -> None:
    assert without_user_info("http://me:pw@host:5/x") == "http://host:5/x"
    assert without_user_info("sqlite:////a/b.db") == "sqlite:////a/b.db"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ('API_KEY = "abc def"', 'API_KEY = "***"'),
        ("token: str = 'xyz'", "token: str = '***'"),
        ('os.environ["DB_PASS"] = "q w e"', 'os.environ["DB_PASS"] = "***"'),
        ('os.getenv("API_KEY", "abc")', 'os.getenv("API_KEY", "***")'),
        ('PASSWORD = """a\nb"""', 'PASSWORD = """***"""'),
        ('+  login(api_key="x", lr=1)', '+  login(api_key="***", lr=1)'),
        ("+  password: hunter2", "+  password: ***"),
        ("-db_pass = hunter2", "-db_pass = ***"),
        ("ENV PASSWORD hunter2", "ENV PASSWORD ***"),
        ("train --password hunter2 --lr 1", "train --password *** --lr 1"),
        ("+headers={Authorization:Bearer X}", "+headers={Authorization:***}"),
        ('-H "Authorization: Basic bWU6cHc="', '-H "Authorization: ***"'),
        ("Cookie: a=b; c=d", "Cookie: ***"),
        ("+db={password:open sesame,port:1}", "+db={password:***,port:1}"),
        ("sent Bearer abcdef.123 there", "sent Bearer *** there"),
        ("sent Basic bWU6cGFzc3dvcmQ= there", "sent Basic *** there"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\nx==\n-----END RSA PRIVATE KEY-----\n.", "***\n."),
        ('"-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----\\n"', '"***\\n"'),
        ("key sk-proj-abcdefghij0123456789.", "key ***."),
        ("hf_abcdefghijklmnopqrst, ghp_abcdefghijklmnopqrst", "***, ***"),
        ("AKIAIOSFODNN7EXAMPLE xoxb-1234567890-abc AIza0123456789abcdefghijk", "*** *** ***"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmVk", "***"),
        ("https://hooks.slack.com/services/T0/B0/XX", "https://hooks.slack.com/services/***"),
        ("sqlite%3A//x mysql+pymysql://me:p:w/d@h/db", "sqlite%3A//x mysql+pymysql://***@h/db"),
    ],
)
def test_secrets_in_code_headers_and_options(given: str, written: str) -> None:
    assert redacted_text(given) == written
    assert redacted_text(written) == written


@pytest.mark.parametrize(
    "text",
    [
        "    token = next(stream)",
        "def f(password: str, token: Tensor) -> None:",
        "Bearer authentication is used in Basic training",
        "task-with-a-long-name-1 and risk-averse-learner-2026",
        "for token in tokens: total += count[token]",
        'names = ["password", "token"]',
        "image_key: observation.images.top",
    ],
)
def test_code_and_prose_stay(text: str) -> None:
    assert redacted_text(text) == text


SECRET_TEXT = """it's "a b" & c=d/é\\n"""


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET_TEXT,
        repr(SECRET_TEXT),
        repr(ValueError("x" + SECRET_TEXT)),
        repr(SECRET_TEXT.encode()),
        json.dumps([SECRET_TEXT]),
        json.dumps(json.dumps([SECRET_TEXT])),
        yaml.safe_dump([SECRET_TEXT]),
        yaml.safe_dump(["word " * 14 + SECRET_TEXT + " word" * 10]),
        yaml.safe_dump(["word " * 13 + SECRET_TEXT + " word" * 10], allow_unicode=True),
        html.escape(SECRET_TEXT),
        quote(SECRET_TEXT),
        quote_plus(SECRET_TEXT),
        shlex.quote(SECRET_TEXT),
        *(base64.b64encode(b"-" * n + SECRET_TEXT.encode() + b"--").decode() for n in range(3)),
        base64.urlsafe_b64encode(json.dumps({"k": SECRET_TEXT}).encode()).decode(),
    ],
)
def test_a_remembered_secret_is_found_however_it_is_spelled(spelled: str) -> None:
    whole = redacted_text(spelled)
    assert whole == spelled
    remember({"password": SECRET_TEXT})
    found = redacted_text(spelled)
    assert MASK in found
    assert len(found) <= len(spelled) - len(SECRET_TEXT) + len(MASK)


def test_what_would_spoil_texts_is_hidden_at_its_key_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in ("mlflow", "tensorflow", "objective", "short1", tmp_path.name):
        remember({"password": word})
        assert redacted({"password": word}) == {"password": MASK}
        text = f"{tmp_path}/mlflow.db tensorflow objective short1"
        assert redacted_text(text) == text


def test_digits_are_found_as_a_whole_number_alone() -> None:
    remember({"password": "12345678"})
    assert redacted_text("at 1712345678.5: 12345678 refused") == "at 1712345678.5: *** refused"


def test_no_text_costs_more_than_its_length() -> None:
    """The steps of the search are those of a regular expression that never goes back."""
    for part in ("a", "a.b-", "a://", "://", "a:", "='", "{", "(", "-----BEGIN PRIVATE KEY-----"):
        redacted_text(part * 20_000)
