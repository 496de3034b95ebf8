from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import spawn
from waiting import PATIENCE_S

from explr.runner.cli.completion.candidates import candidates
from explr.runner.cli.completion.scripts import COMPLETION_VARIABLE, SCRIPTS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(line: str) -> list[str]:
    return [word for kind, word in candidates(line) if kind == "plain"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("explr re", ["report", "resume"]),
        ("explr tuner=", ["tuner=none", "tuner=optuna", "tuner=ray"]),
        ("explr tune", ["tune", "tuner.", "tuner/", "tuner="]),
        ("explr framework=pytorch l", ["lr="]),
        ("explr -q -m l", ["lr="]),
        ("explr tuner=ray tuner.ray.cp", ["tuner.ray.cpus_per_trial="]),
        ("explr -m 'lr=interval(1e-3, 1)' ba", ["batch_size="]),
        ("explr hydra/lau", ["hydra/launcher="]),
        ("explr hydra/launcher=explr", ["hydra/launcher=explr_local"]),
        ("explr hydra.run", ["hydra.run.", "hydra.runtime."]),
        ("explr --mu", ["--multirun"]),
        ("explr -v", ["-v"]),
        ("explr plan -m see", ["seed="]),
        ("explr tune my.yaml --n", ["--n-trials"]),
        ("explr init --framework p", ["pytorch"]),
        ("explr completion ", ["bash", "zsh", "fish"]),
        ("explr sync se", []),  # takes no settings
        ("explr nonsense ", []),
        ("explr tuner=nonsense lr", []),  # does not compose
        ("explr lr=[1", []),
    ],
)
def test_what_may_stand_at_the_cursor(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_an_empty_line_shows_both_worlds() -> None:
    found = words("explr ")
    assert {"plan", "mlflow-ui", "completion", "tuner=", "lr=", "gpu.", "hydra/"} <= set(found)
    assert len(found) == len(set(found))
    assert not [word for word in found if word.startswith("explr")]


def test_a_projects_own_options(folder: Path) -> None:
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nlr: 1\n")
    assert words("explr experiment=m") == ["experiment=mine"]


@pytest.mark.parametrize("line", ["explr run ", "explr train_model=my", "explr resume mul"])
def test_files_are_left_to_the_shell(line: str) -> None:
    assert [kind for kind, _ in candidates(line)] == ["file"]


def test_asking_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from explr.runner.cli.main import main; main()\n"
        "print([name for name in ('torch', 'optuna', 'mlflow', 'ray') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, COMPLETION_VARIABLE: "explr tuner=o"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["plain,tuner=optuna", "[]"]


class Terminal:
    """A shell in a terminal of its own.

    Args:
        shell: its name.
        folder: its home and working directory.
    """

    def __init__(self, shell: str, folder: Path) -> None:
        self.shell = shell
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {"HOME": str(folder), "PATH": path, "PS1": "$ ", "TERM": "dumb"}
        command = COMMANDS[shell]
        self._process, self._master = spawn(command, folder, {**os.environ, **variables})

    def type(self, keys: str, until: str) -> str:
        """What the terminal shows once the pattern `until` is in it."""
        os.write(self._master, keys.encode())
        shown = ""
        end = time.monotonic() + PATIENCE_S
        while not re.search(until, shown):
            assert time.monotonic() < end, shown
            if select.select([self._master], [], [], 1)[0]:
                shown += os.read(self._master, 65536).decode(errors="replace")
        return shown

    def completed(self, typed: str) -> str:
        """The line that a tab makes of what is typed."""
        self.type(f"{typed}\t", re.escape(typed[-3:]))
        shown = self.type("\x01echo '<\x05>'\r", r"<[^<>\r]*>\r?\n")
        return re.findall(r"<([^<>\r]*)>\r?\n", shown)[-1]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
SOURCES = {
    "bash": 'eval "$(explr completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -u; eval "$(explr completion zsh)"',
    "fish": "explr completion fish | source",
}


@pytest.fixture(params=sorted(SCRIPTS))
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    terminal = Terminal(shell, folder)
    try:
        terminal.type(f"{SOURCES[shell]}; echo rea''dy\r", r"ready\r?\n")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.slow
def test_a_tab_in_a_real_shell(terminal: Terminal, folder: Path) -> None:
    """Zsh takes the space behind a word back when the cursor is moved away from it."""
    (folder / "my_training.py").touch()
    for typed, line in {
        "explr mlf": "explr mlflow-ui ",
        "explr tuner=opt": "explr tuner=optuna ",
        "explr framework=pytorch batch": "explr framework=pytorch batch_size=",
        "explr -m tuner=ray tuner.ray.cp": "explr -m tuner=ray tuner.ray.cpus_per_trial=",
        "explr train_model=my_tr": "explr train_model=my_training.py ",
        "explr report --p": "explr report --png ",
    }.items():
        done = terminal.completed(typed)
        assert done.rstrip() == line.rstrip()
        if terminal.shell == "bash":
            assert done == line
