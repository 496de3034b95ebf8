from typing import Any

import pytest

from explr.core import secrets
from explr.core.secrets import (
    MASK,
    is_secret,
    masked,
    redacted,
    redacted_argument,
    redacted_text,
    remember,
    without_user_info,
)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", set())


SECRETS = """
    password db.password DB_PASSWORD pwd db_pwd passphrase secret secrets.a AWS_SECRET_ACCESS_KEY
    token hf_token HF_TOKEN accessToken api_key apiKey OPENAI_API_KEY private_key credentials.user
    credential Authorization client_secret_2
    auth_token access_token accessTokens api_token api_tokens bearer_token refresh_token id_token
    session_token csrf_token github_token GH_TOKEN gitlab.token slack_bot_token wandb_token
    hugging_face_token huggingFaceHubToken HUGGING_FACE_HUB_TOKEN MLFLOW_TRACKING_TOKEN npm_token
    acme_token ACME_TOKEN user_token device_token IMAGE_TOKEN token_2 model.token set_cookie
"""
PLAIN = """
    lr max_tokens n_tokens pad_token eos_token mask_token tokenizer token_dim tokens key keys
    monkey keyboard compass secretary password_file AWS_ACCESS_KEY_ID num_keys
    image_token img_token imageToken video_token audio_token padding_token pad_token eot_token
    eod_token boi_token eoi_token bos_token sos_token cls_token class_token sep_token unk_token
    special_token mask_token patch_token register_token memory_token query_token prefix_token
    prompt_token visual_token text_token time_token latent_token dist_token start_token end_token
    begin_token stop_token new_token next_token prev_token first_token last_token num_token
    max_token min_token avg_token mean_token total_token rare_token oov_token fim_prefix_token
    fim_middle_token think_token model.image_token.size img_token_id pad_token_id token_index
    image_token_index tokens_per_batch tokens_per_second max_new_tokens num_image_tokens
    MAX_TOKENS vocab vocab_size tokenizer_name token_type_embeddings access_token_file
"""


@pytest.mark.parametrize("key", SECRETS.split())
def test_keys_of_secrets(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", PLAIN.split())
def test_keys_of_hyperparameters(key: str) -> None:
    assert not is_secret(key)


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
