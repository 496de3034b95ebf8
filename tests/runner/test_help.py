from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import explr.conf
from explr.core.config import ROOT_KEYS
from explr.runner.cli.commands import commands

TREE = Path(explr.conf.__path__[0])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    return subprocess.run(
        [sys.executable, "-m", "explr", "--help"],
        cwd=tmp_path_factory.mktemp("help"),
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_every_option_of_every_group_is_described(shown: str) -> None:
    options = [
        path.relative_to(TREE).with_suffix("")
        for path in TREE.rglob("*.yaml")
        if path.parent not in (TREE, TREE / "explr")
    ]
    assert len(options) > 10
    assert not re.search(r"^  explr(/\w+)?$", shown, re.MULTILINE)  # not for command lines
    for option in options:
        assert re.search(rf"^  {option.parent}$", shown, re.MULTILINE)
        assert re.search(rf"^  [ *] {option.name} +\S", shown, re.MULTILINE), option


def test_the_chosen_options_are_marked(shown: str) -> None:
    marked = re.findall(r"^  \* (\S+)", shown, re.MULTILINE)
    assert marked == ["auto", "shared", "default", "mlflow", "none"]


def test_hyperparameters_are_described(shown: str) -> None:
    for row in (
        r"lr=0\.001 +learning rate of Adam",
        r"batch_size=64 +images per batch",
        r"width=32 +channels of the first convolution",
        r"epochs=20 +number of passes over the training images",
    ):
        assert re.search(rf"^    {row}$", shown, re.MULTILINE)


def test_every_setting_is_listed(shown: str) -> None:
    for key in ROOT_KEYS - {"hydra", "search_space"}:
        assert re.search(rf"^    {key}[.=]", shown, re.MULTILINE), key
    assert "gpu.memory_limit_gb=null" in shown
    assert "framework.threads=null" in shown


def test_every_subcommand_is_listed(shown: str) -> None:
    for name in commands.commands:
        assert re.search(rf"^  explr {name}\b", shown, re.MULTILINE), name


def test_lines_fit(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 100


def test_short_flag_and_overrides(explr) -> None:
    done = explr("-h", "search_space=digits", "tuner=optuna", "lr=3")
    assert done.returncode == 0
    assert re.search(r"^  \* digits ", done.stdout, re.MULTILINE)
    assert re.search(r"^    lr=3 +learning rate of Adam$", done.stdout, re.MULTILINE)
    assert "tuner.n_trials=null" in done.stdout
    assert re.search(r"^  \* tpe ", done.stdout, re.MULTILINE)


def test_a_wrong_override_is_told_rather_than_shown(explr) -> None:
    done = explr("--help", "lrr=3")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean lr?" in done.stderr


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_help_of_each_subcommand(explr, name: str) -> None:
    done = explr(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: explr {name} ")
    options = [p for p in commands.commands[name].params if isinstance(p, click.Option)]
    assert all(option.help for option in options)
