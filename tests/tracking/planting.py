"""A hundred secrets under sixty names and in twenty-five shapes, each with a word of its own."""

from __future__ import annotations

import base64
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

CANARY = "kanari"
"""What each secret has in it, with a number."""

NAMES = """
    password passwd passphrase pwd db_pass dbpassword pgpassword sshpass secret client_secret
    secret_key secret_access_key token hf_token access_token auth_token authtoken bearer_token
    refresh_token id_token session_token github_token slack_bot_token acme_token api_key apikey
    x_api_key openai_key openai_api_key anthropic_api_key azure_key cohere_key wandb_key
    encryption_key signing_key private_key ssh_private_key account_key access_key accesskey
    master_key license_key credential credentials creds db_creds cred auth proxy_auth basic_auth
    authorization jwt user_jwt bearer cookie set_cookie sentry_dsn github_pat otp smtp_pass
""".split()  # noqa: SIM905

SHAPES: tuple[Callable[[str], str], ...] = (
    lambda word: f"{word}-plain",
    lambda word: f"{word} with blanks",
    lambda word: f"'{word}' quoted",
    lambda word: f'"{word}" quoted twice',
    lambda word: f"{word}@host",
    lambda word: f"{word}\nin two lines",
    lambda word: f"{word}é☃",
    lambda word: f"{{{word}}}",
    lambda word: f"{word},{word}",
    lambda word: f"{word}=={word}",
    lambda word: f"{word}:{word}",
    lambda word: f"# {word}",
    lambda word: f"{word}\\n\\t",
    lambda word: f"-{word}",
    lambda word: f"{word} " * 12,
    lambda word: f"&{word}; <{word}>",
    lambda word: f"{word}%20+/",
    lambda word: f"(${word})",
)
"""How a value may be written under the name of a secret."""

TELLING: tuple[Callable[[str], str], ...] = (
    lambda word: f"postgresql://me:{word}@127.0.0.1:9/db",
    lambda word: f"https://{word}@127.0.0.1:9/path",
    lambda word: f"Authorization: Bearer {word}.x1",
    lambda word: "Basic " + base64.b64encode(f"me:{word}".encode()).decode(),
    lambda word: f"-----BEGIN PRIVATE KEY-----\n{word}\n-----END PRIVATE KEY-----",
    lambda word: f"sk-proj-{word}-0123456789abcdef",
    lambda word: f"hf_{word}0123456789abcdef",
)
"""Values that are secrets by their shape, under any name."""


def words(first: int, count: int) -> list[str]:
    return [f"{CANARY}{number:03}x" for number in range(first, first + count)]


def named(first: int) -> dict[str, str]:
    """A secret under each name."""
    pairs = zip(NAMES, words(first, len(NAMES)), strict=True)
    return {name: SHAPES[at % len(SHAPES)](word) for at, (name, word) in enumerate(pairs)}


def shaped(first: int) -> dict[str, str]:
    """A secret of each shape under a harmless name."""
    pairs = zip(TELLING, words(first, len(TELLING)), strict=True)
    return {f"plain_{at}": shape(word) for at, (shape, word) in enumerate(pairs)}


ENCODED = re.compile(
    b"|".join(
        base64.b64encode(b"-" * skipped + CANARY.encode())[
            (skipped * 8 + 5) // 6 : (skipped + len(CANARY)) * 8 // 6
        ]
        for skipped in range(3)
    )
)


def is_in(content: bytes) -> bool:
    return CANARY.encode() in content or ENCODED.search(content) is not None


def found_in(root: Path) -> Iterator[str]:
    """Where the word is in a file, in the name of one, or in a row of a database."""
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):  # a file of a process that is ending
            if CANARY in path.name or (path.is_file() and is_in(path.read_bytes())):
                yield str(path)
        if path.suffix == ".db" and path.is_file():
            with closing(sqlite3.connect(path)) as database:
                yield from (line[:300] for line in database.iterdump() if is_in(line.encode()))


@contextmanager
def watched_titles(root: Path) -> Iterator[set[str]]:
    """The command lines with a secret, of processes that work in `root` while the block runs."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):  # psutil would take a core for itself
                with suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    if is_in(line) and (process / "cwd").readlink().is_relative_to(root):
                        words = line.rstrip(b"\0").decode(errors="replace").replace("\0", " ")
                        seen.add(words[:300])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
