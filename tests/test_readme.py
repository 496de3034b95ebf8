"""Every fenced block of the README and of `docs/` runs as it stands, but for sweeps: these
have half their trials, and what `lightened` says besides.

Each page of `docs/` and each section of the README has a fresh folder. What a section of the README
needs of those above it are their files alone.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from zygote import zygote

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINE_TIMEOUT_S = 400

SKIPPED = {
    "make run": "makes an environment and downloads PyTorch",
    "git clone ADDRESS explr": "needs the network",
    "cd explr": "goes there",
    ". .venv/bin/activate": "uses the environment that was made there",
    "mkdir -p ~/digits": "each page has a folder of its own",
    "cd ~/digits": "goes there",
    "make test": "makes an environment, downloads both frameworks, and runs these tests",
    "pip install 'explr-train[torch]'": "downloads PyTorch",
    "explr verify tuner=optuna tuner.n_jobs=4 gpu.memory_limit_gb=20 --json": "takes Ray's and "
    "MLflow's seconds; tests/runner/test_gpu_commands.py runs it",
    "explr tuner=ray tuner/pruner=pbt -m 'lr=interval(0.01,0.5)' train_model=on_ray:train_model "
    "tracking=off tuner.n_trials=4 tuner.n_jobs=2": "starts Ray; tests/ray/test_schedulers.py and "
    "test_cut_off.py run the like of it",
}
"""Lines that need the network or minutes, or that run elsewhere, each with its reason."""

UNTRACKED = {"README.md", "index.md", "training.md", "tutorial.md"}
"""Pages whose sweeps are not uploaded here, which costs more than the sweeps; tracking.md's are."""

IN_ONE_PROCESS = {"integrations.md", "sweeps.md"}
"""Pages whose sweeps of one trial at a time run in the command: libraries are imported once."""

KEEPER = """
import signal
from explr.tracking.shipping.start import ensure_companion
from explr.tracking.home import local_store_uri
ensure_companion(local_store_uri(), serve=False, port=5000)
signal.pause()
"""
"""Keeps one companion for all commands; else each has one of its own."""

PLAIN = re.compile(
    r"(?:cd (?P<folder>\w+) && )?(?P<variables>(?:\w+=\w+ )*)"
    r"(?P<line>(?:explr|python (?:-m \w+|[\w/]+\.py))(?: (?:'[^']*'|[^'|&;<>$*?`~#])*)?)"
)
"""A command for which no shell is needed."""

KNOWN = {"bash", "python", "yaml", "text"}
"""Languages of blocks; `text` is for people to look at."""


class Block(NamedTuple):
    """A fenced block.

    Args:
        language: what stands behind the fence.
        text: its content.
        line: number of its first line in the page.
    """

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that the block is: its first comment, which Hydra's own may precede."""
        name = re.match(r"(?:# @package \w+\n)?# ([\w./-]+\.(?:py|ya?ml))\n", self.text)
        return name[1] if name else None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text[: found.start(2)].count("\n") + 1)
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    ]


def parts_of(page: Path) -> list[list[Block]]:
    """The blocks of a page, or of each section of the README, that run in a folder of their own.

    A section begins with the files of those before it.
    """
    blocks = blocks_of(page)
    if page.name != "README.md":
        return [blocks]
    lines = page.read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines, 1) if line.startswith("## ")]
    parts = []
    for start, end in pairwise([*starts, len(lines) + 1]):
        files = [block for block in blocks if block.line < start and block.file]
        parts.append([*files, *(block for block in blocks if start < block.line < end)])
    assert sum(block.line < starts[0] for block in blocks) == 0
    return [part for part in parts if any(block.language == "bash" for block in part)]


def commands_of(block: Block) -> Iterator[tuple[int, str]]:
    """The commands of a block with their line numbers, without the comments behind them."""
    for number, line in enumerate(block.text.splitlines(), block.line):
        command = re.sub(r"(^|\s)#\s.*$", "", line).strip()
        if command:
            yield number, command


def is_skipped(command: str) -> bool:
    return command in SKIPPED


MOST_TRIALS = 4
"""Trials of a sweep here."""

KILLED = "timeout -s KILL 20 "
"""Begins a command that is killed after some seconds; here, as soon as it has begun a trial."""


def lightened(command: str, page: str) -> str:
    """A command with less to do: what it shows is how it is written, not how long it takes."""
    if not re.search(r"(explr|\.py)( .*)? -m\b|^explr tune ", command):
        return command
    if "tuner.confirm=" not in command:  # which needs some trials to choose from
        command = re.sub(
            r"(n_trials=|--n-trials )(\d+)",
            lambda m: f"{m[1]}{min(math.ceil(int(m[2]) / 2), MOST_TRIALS)}",
            command,
        )
    if command.startswith(KILLED):  # adds trials to the sweep before
        command = command.replace(f"n_trials={MOST_TRIALS}", f"n_trials={MOST_TRIALS + 2}")
    if command.startswith("explr plan"):
        return command
    if page in UNTRACKED:
        command += " tracking=off"
    if page == "tutorial.md":
        command += " epochs=3"  # of 10
    if page in IN_ONE_PROCESS and not re.search("n_jobs|launcher", command):
        command += " hydra/launcher=basic"
    # Changing this word changes nothing else, as tests/ray/test_swap.py shows.
    return command.replace("tuner=ray", "tuner=optuna")


class Shell:
    """Runs commands as a user of this environment would type them.

    Args:
        folder: working directory.
        home: EXPLR_HOME.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        self.environment = {
            **os.environ,
            "PATH": path,
            "EXPLR_HOME": str(home),
            "EXPLR_AUTOSTART": "0",
        }

    def __call__(self, command: str) -> subprocess.CompletedProcess[str]:
        if command.startswith(KILLED):
            return self._killed(command.removeprefix(KILLED))
        if plain := PLAIN.fullmatch(command):
            program, *words = shlex.split(plain["line"])
            line = [sys.executable, *(["-m", "explr"] if program == "explr" else []), *words]
            variables = dict(each.split("=") for each in plain["variables"].split())
            folder = self._folder / (plain["folder"] or "")
            return zygote.run(line, folder, {**self.environment, **variables}, LINE_TIMEOUT_S)
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=self._folder,
            env=self.environment,
            timeout=LINE_TIMEOUT_S,
            capture_output=True,
            text=True,
            check=False,
        )

    def _killed(self, command: str) -> subprocess.CompletedProcess[str]:
        _, *words = shlex.split(command)
        with subprocess.Popen(
            [sys.executable, *words],
            cwd=self._folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            told = "".join(takewhile(lambda line: " starts: " not in line, process.stdout))
            process.kill()
        return subprocess.CompletedProcess(
            words, 0 if process.returncode == -signal.SIGKILL else 1, "", told
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Iterator[Path]:
    """One EXPLR_HOME for all pages; a server that was started there does not outlive them."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copyfile(template, folder / "mlflow.db")
    (folder / "keeper.py").write_text(KEEPER)
    shell = Shell(folder, folder)
    with (folder / "keeper.log").open("w") as log:
        command = [sys.executable, str(folder / "keeper.py")]
        files = (log.fileno(), log.fileno())
        keeper = zygote.start(command, folder, shell.environment, *files, is_whole=False)
    yield folder
    keeper.kill()
    keeper.wait()
    shell("explr mlflow-ui --stop")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        pytest.param(page, blocks, id=f"{page.name}-{place}")
        for page in PAGES
        for place, blocks in enumerate(parts_of(page))
    ],
)
def test_every_block_runs(page: Path, blocks: list[Block], tmp_path: Path, home: Path) -> None:
    shell = Shell(tmp_path, home)
    for block in blocks:
        place = f"{page.name}:{block.line}"
        if block.language in ("python", "yaml"):
            assert block.file, f"{place}: the first line must name the file"
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            for number, command in commands_of(block):
                if is_skipped(command):
                    continue
                done = shell(lightened(command, page.name))
                assert done.returncode == 0, f"{page.name}:{number}: {command}\n{done.stderr}"
                assert "Traceback" not in done.stdout + done.stderr, f"{page.name}:{number}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_known_kind(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = blocks_of(page)
    assert 2 * len(blocks) == len(re.findall(r"^```", text, flags=re.MULTILINE))
    for block in blocks:
        place = f"{page.name}:{block.line}"
        assert block.language in KNOWN, place
        if block.language == "python":
            compile(block.text, place, "exec")
        elif block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict), place


def test_only_what_needs_the_network_or_minutes_or_runs_elsewhere_is_skipped() -> None:
    lines = [
        command
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "bash"
        for _, command in commands_of(block)
    ]
    assert set(SKIPPED) <= set(lines)
    kinds = r"make (run|test)$|pip install |explr (verify|tuner=ray)\b"
    kinds += r"|git clone |cd |mkdir |\. "
    assert all(re.match(kinds, line) for line in SKIPPED)
    assert all(SKIPPED.values())


def test_a_server_that_a_block_starts_is_stopped_in_it() -> None:
    for page in PAGES:
        for block in blocks_of(page):
            if block.language != "bash":
                continue
            servers = [c for _, c in commands_of(block) if c.startswith("explr mlflow-ui")]
            assert not servers or servers[-1] == "explr mlflow-ui --stop", f"{page.name}"
