"""A storage that cannot be used says why, in one sentence."""

from __future__ import annotations

import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from explr.core.errors import ExplrError, MissingDependencyError, UsageError
from explr.tuning.storage.database import storage_in_use
from explr.tuning.storage.opening import open_study


def complaint(folder: Path, url: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_study(folder, "mine", ["minimize"], url)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    return caught.value


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    said = str(complaint(tmp_path, f"sqlite:///{tmp_path}/nowhere/study.db"))
    assert said.endswith(f"there is no folder {tmp_path}/nowhere: create it first")
    said = str(complaint(tmp_path, f"sqlite:///{tmp_path}"))
    assert said.endswith(f"{tmp_path} is a folder: name a file in it")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a" * 5000)
    said = str(complaint(tmp_path, f"sqlite:///{tmp_path}/notes.txt"))
    assert said.endswith("/notes.txt cannot be used: file is not a database")


def test_a_driver_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    error = complaint(tmp_path, "mysql+pymysql://me:hush@host/studies")
    assert isinstance(error, MissingDependencyError)
    assert str(error) == (
        "tuner.storage=mysql+pymysql://***@host/studies needs the Python module pymysql, "
        "which is not installed"
    )


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        said = str(complaint(tmp_path, f"postgresql+psycopg2://me:hush@{host}/studies"))
    assert said.startswith(f"tuner.storage=postgresql+psycopg2://***@{host}/studies cannot be")
    assert said.endswith("failed: Connection refused")


@pytest.mark.parametrize("url", ["study", "nosuch://host/name", "sqlite"])
def test_what_is_no_url(tmp_path: Path, url: str) -> None:
    said = str(complaint(tmp_path, url))
    assert said.startswith(f"tuner.storage={url} is no URL of a database: write it as sqlite:///")


def test_what_optuna_has_no_storage_for(tmp_path: Path) -> None:
    said = str(complaint(tmp_path, "redis://host:1/0"))
    assert said.startswith("tuner.storage=redis://host:1/0 cannot be used: RedisStorage")


def test_a_storage_that_fails_while_the_sweep_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = open_study(tmp_path, "mine", ["minimize"], url)
    with closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute("DROP TABLE trials")
    with pytest.raises(ExplrError) as caught, storage_in_use(url):
        study.ask()
    assert caught.value.exit_code == 1
    assert str(caught.value) == (
        f"tuner.storage={url} has failed: no such table: trials; `explr resume` continues the sweep"
    )
