"""What another user has written is neither run nor uploaded without a word."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from explr.core import ownership
from explr.core.errors import UsageError
from explr.runner.cli.resume import resume
from explr.runner.cli.sync import sync_journals


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files belong to somebody else."""
    monkeypatch.setattr(ownership.os, "getuid", lambda: 4711)


def sweep_in(folder: Path) -> Path:
    folder.mkdir()
    argv = ["-m", "explr", "tuner=optuna", "-m", "lr=interval(0,1)"]
    command = {"format": 1, "argv": argv, "cwd": str(folder.parent), "study": "s"}
    (folder / "sweep.json").write_text(json.dumps(command))
    return folder


class Replaced(Exception):
    """The process would have become another program."""


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    begun: list[list[str]] = []

    def become(program: str, words: list[str]) -> None:
        begun.append(words)
        raise Replaced

    monkeypatch.setattr(os, "execv", become)
    return begun


def test_a_sweep_shows_the_command_that_it_resumes_with(
    replaced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Replaced):
        resume(sweep_in(tmp_path / "s"))
    assert "lr=interval(0,1)" in capsys.readouterr().out


def test_a_sweep_of_another_user_is_not_resumed(
    foreign: None, replaced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = sweep_in(tmp_path / "s")
    with pytest.raises(UsageError, match=r"belongs to .*, and its command would be run: look at"):
        resume(folder)
    assert replaced == []
    with pytest.raises(Replaced):
        resume(folder, trust=True)


def test_a_run_of_another_user_is_not_uploaded(
    foreign: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "home"))
    journal = tmp_path / "run" / "journal-0123456789abcdef0123456789abcdef.jsonl"
    journal.parent.mkdir()
    journal.touch()
    with pytest.raises(UsageError, match="the files that it names would be uploaded"):
        sync_journals(journal.parent)
    assert sync_journals(journal.parent, trust=True) == 0


def test_the_commands_have_the_flag() -> None:
    from explr.runner.cli.commands import commands

    for name in ("resume", "sync"):
        options = commands.get_command(click.Context(commands), name).params
        assert "--trust" in {name for option in options for name in option.opts}


@pytest.mark.slow
def test_whatever_the_umask_nobody_else_can_hold_read_or_change_what_a_sweep_goes_on_from(
    tmp_path: Path,
) -> None:
    (tmp_path / "job.py").write_text("def train(ctx):\n    return ctx.hyperparameters['lr']\n")
    settings = [
        "train_model=job.py:train",
        "tuner=optuna",
        "tuner.n_trials=1",
        "tuner.study_name=s",
    ]
    database = f"tuner.storage=sqlite:///{tmp_path}/study.db"
    variables = {"EXPLR_HOME": str(tmp_path / "home"), "EXPLR_AUTOSTART": "0"}
    subprocess.run(
        [sys.executable, "-m", "explr", *settings, "-m", "lr=interval(0,1)", database],
        cwd=tmp_path,
        env={**os.environ, **variables},
        umask=0,
        check=True,
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    private = {name for name, mode in modes.items() if not mode & 0o077}
    journals = {name for name in modes if name.startswith("journal-")}
    assert {"home", "study.db", "sweep.lock", "results.lock", *journals} <= private
    assert not any(modes[name] & 0o022 for name in ("sweep.json", "results.json", "result.json"))
