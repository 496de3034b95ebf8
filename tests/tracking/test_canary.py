"""Secrets in every place where they may stand, and a search through all that was written."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from planting import found_in, is_in, named, shaped, watched_titles, words
from zygote import zygote

from explr.config.grammar import literal
from explr.tracking.home import explr_home

pytestmark = pytest.mark.slow

LIGHT = "return 1.0 / (1.0 + ctx.hyperparameters['lr'])"
BODY = """
import json, logging
given = dict(ctx.hyperparameters)
logging.getLogger("mine").warning("logging in: %s", json.dumps(given))
assert given["a"]["password"] == "kanari000x-plain"
assert given["c"]["password"] == os.environ["MINE_PASSWORD"]
ctx.tracker.log_params({"more": {key: str(value) for key, value in given.items()}})
ctx.tracker.set_tag("note", repr(given))
ctx.tracker.log_text(repr(given), "note.txt")
ctx.tracker.log_dict(given, "note.json")
if given["lr"] > 0.4:
    raise ValueError(f"refused: {given} {dict(os.environ)}")
return 1.0 / (1.0 + given["lr"])
"""
INNOCENT = {f"setting_{number}": f"value {number}" for number in range(190)} | {
    "max_tokens": 100, "pad_token": "<pad>", "image_token": "[IMG]", "token_count": 17,
    "num_keys": 4, "key_dim": 64, "author": "somebody", "monkey": "see", "forward_pass": "twice",
    "sort_key": "val_accuracy",
}  # fmt: skip


@pytest.fixture
def planted(store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command with a hundred secrets, in a git repository with more in it.

    They come by overrides, YAML, the environment, resolvers, code that is not committed, and the
    address of the repository.
    """
    kit.write_training(tmp_path / "job.py", BODY)
    for name, value in named(300).items():
        monkeypatch.setenv(f"MINE_{name.upper()}", value)
    git = ["git", "-c", "user.email=a@b", "-c", "user.name=n"]
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")
    for command in (
        ["init", "-q"],
        ["add", "code.py"],
        ["commit", "-qm", "all"],
        ["remote", "add", "origin", f"https://me:{words(400, 1)[0]}@host/x.git"],
    ):
        subprocess.run([*git, *command], check=True, capture_output=True)
    lines = [f"{key.upper()} = {value!r}\n" for key, value in named(500).items()]
    lines += [f'{key} = """{value}"""\n' for key, value in shaped(600).items()]
    code.write_text("".join(lines))
    option = tmp_path / "conf" / "experiment" / "mine.yaml"
    option.parent.mkdir(parents=True)
    content = {"y": named(200), "z": shaped(650), "plain": INNOCENT, "lr": 0.1}
    option.write_text("# @package _global_\n" + yaml.safe_dump(content))
    return [
        "train_model=job.py:train",
        "experiment=mine",
        *(f"+a.{key}={literal(value)}" for key, value in named(0).items()),
        *(f"+b.{key}={literal(value)}" for key, value in shaped(100).items()),
        *(f"+c.{key}=${{oc.env:MINE_{key.upper()}}}" for key in named(0)),
        f"+d={{password:{words(700, 1)[0]} and more,list:[{{token:{words(701, 1)[0]}}}]}}",
        f"+headers={{Authorization:Bearer {words(702, 1)[0]}}}",
        "tracking.drain_timeout_s=200",
    ]


class Watched:
    """Runs commands, and looks at what they print and at the command lines of all processes."""

    def __init__(self, kit: Any, folder: Path) -> None:
        self.kit, self.folder = kit, folder

    def run(self, *arguments: str, fresh: bool = False) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "explr", *arguments]
        with watched_titles(self.folder) as titles:
            done = (
                subprocess.run(command, capture_output=True, text=True, check=False)
                if fresh
                else zygote.run(command, self.folder, os.environ, self.kit.patience_s)
            )
        assert not is_in((done.stdout + done.stderr).encode()), done.stdout + done.stderr
        # The system shows the command as it was typed until Python has started.
        typed = " ".join(command)[:300]
        assert titles <= {typed}
        return done

    def found(self) -> list[str]:
        self.kit.eventually(lambda: not self.kit.companions_of(explr_home()), "the companions' end")
        given = {"code.py", "job.py", "mine.yaml", "config"}  # what the test itself has written
        found = (place for place in found_in(self.folder) if Path(place).name not in given)
        return [place for place in found if not place.endswith(".pyc")]


@pytest.fixture
def watched(kit: Any, tmp_path: Path) -> Watched:
    return Watched(kit, tmp_path)


def test_a_run_writes_no_secret(planted: list[str], watched: Watched, store: Any) -> None:
    done = watched.run(*planted, fresh=True)  # the titles of all processes are their own
    assert done.returncode == 0, done.stderr
    failed = watched.run(*planted, "lr=0.5")
    assert failed.returncode == 1
    assert "ValueError: refused: {" in failed.stderr
    assert watched.found() == []
    good = next(run for run in store.runs() if run.info.status == "FINISHED")
    params = good.data.params
    assert {key: params[f"plain.{key}"] for key in INNOCENT} == {
        key: str(value) for key, value in INNOCENT.items()
    }
    assert params["a.password"] == params["y.password"] == "***"
    assert params["c.password"] == "${oc.env:MINE_PASSWORD}"
    assert params["b.plain_0"] == "postgresql://***@127.0.0.1:9/db"
    assert "a.password=***" in good.data.tags["explr.command"]
    assert {"note.txt", "note.json", "origin/changes.diff"} <= store.artifacts(good).keys()


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder with a name that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.parametrize("tuner", ["optuna", "ray"])
def test_a_sweep_writes_no_secret(
    tuner: str,
    planted: list[str],
    watched: Watched,
    ray_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if tuner == "ray":
        pytest.importorskip("ray", reason="needs Ray")
        monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    sweep = [f"tuner={tuner}", "tuner.n_trials=2", "-m", "lr=choice(0.2,0.5)", "tuner/sampler=grid"]
    done = watched.run(*planted, *sweep, "tuner.study_name=s")
    assert done.returncode == 0, done.stderr
    assert (tuner == "ray") is any(ray_folder.iterdir())
    assert list(found_in(ray_folder)) == []
    trials = json.loads((tmp_path / "multirun" / "s" / "results.json").read_text())["trials"]
    assert sorted(trial["state"] for trial in trials) == ["COMPLETE", "FAIL"]
    assert watched.found() == []


def test_what_is_refused_is_told_without_its_secret(planted: list[str], watched: Watched) -> None:
    word = words(800, 1)[0]
    search = ["tuner=optuna", "-m", "lr=interval(0.1,0.5)"]
    for wrong in (
        [f"+api_key=choice({word},x)"],
        [f"tuner.enqueue=[{{api_key:{word}}}]"],
        [f"tuner.storage=postgresql://me:{word}@127.0.0.1:9/db"],
        [f"lr.password={word}"],
    ):
        assert watched.run(*planted[:2], *search, *wrong).returncode == 2
    assert watched.run(*planted[:2], "-m", f"+api_key={word},x").returncode == 2
    assert watched.found() == []


def test_a_rerun_takes_secrets_from_the_command_again(
    watched: Watched, kit: Any, tmp_path: Path
) -> None:
    kit.write_training(tmp_path / "job.py", LIGHT)
    where = ("train_model=job.py:train", "tracking=off", "hydra.run.dir=out")
    secrets = ("+db.password=kanari-plain", "+db.url=postgresql://me:kanari-url@host/db")
    assert watched.run(*secrets, *where).returncode == 0
    refused = watched.run("--experimental-rerun", "out")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "the command of the run in out had secrets, which explr does not save"
    )
    assert "(db.password, db.url)" in refused.stderr
    again = watched.run("--experimental-rerun", "out", "db.password=kanari-again", "db.url=none")
    assert again.returncode == 0, again.stderr
    assert watched.found() == []


def test_a_sweep_takes_secrets_from_the_environment_again(
    watched: Watched, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST", "kanari-first")
    monkeypatch.setenv("SECOND", "kanari-second")
    kit.write_training(
        tmp_path / "job.py",
        "assert ctx.hyperparameters['api_key'] == os.environ[ctx.hyperparameters['api_key_from']]\n"
        + LIGHT,
    )
    sweep = [
        *("train_model=job.py:train", "tracking=off", "tuner=optuna", "tuner.study_name=s", "-m"),
        *("lr=0.1", "+api_key_from=FIRST,SECOND", '+api_key="${oc.env:${api_key_from}}"'),
        *("hydra/launcher=basic", "tuner/sampler=grid", "tuner.n_trials=1"),
    ]
    assert watched.run(*sweep).returncode == 0
    folder = tmp_path / "multirun" / "s"
    for name in ("sweep.json", "multirun.yaml"):  # as if it had been stopped after one of two
        text = (folder / name).read_text()
        (folder / name).write_text(re.sub(r"(n_trials[=:] ?)1", r"\g<1>2", text))
    again = watched.run("resume", str(folder))
    trials = json.loads((folder / "results.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 2, again.stderr
    assert watched.found() == []


def test_a_sweep_that_had_a_secret_is_not_resumed_without_it(
    watched: Watched, kit: Any, tmp_path: Path
) -> None:
    kit.write_training(tmp_path / "job.py", LIGHT)
    sweep = ("tracking=off", "tuner=optuna", "tuner.study_name=s", "-m", "lr=interval(0.1,0.5)")
    done = watched.run(
        "train_model=job.py:train", *sweep, "tuner.n_trials=1", "+db.url=http://kanari-url@host"
    )
    assert done.returncode == 0, done.stderr
    refused = watched.run("resume", str(tmp_path / "multirun" / "s"))
    assert refused.returncode == 2
    assert "had secrets, which explr does not save (db.url)" in refused.stderr
    assert watched.found() == []


def test_an_address_with_a_password_is_written_without_it(
    watched: Watched, kit: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:kanari-url@127.0.0.1:9")
    kit.write_training(tmp_path / "job.py", kit.until_tried + LIGHT)
    done = watched.run("train_model=job.py:train", "tracking.drain_timeout_s=1")
    assert done.returncode == 0, done.stderr
    assert "connection refused" in done.stdout
    kit.kill_companions(home)
    synced = watched.run("sync")
    assert synced.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in synced.stderr.replace("***@", "")
    assert watched.found() == []


def test_a_user_names_secrets_and_what_is_none(
    watched: Watched, kit: Any, store: Any, tmp_path: Path
) -> None:
    look = "assert b'kanari' not in open('/proc/self/cmdline', 'rb').read()"
    kit.write_training(tmp_path / "job.py", f"{look}\n{LIGHT}")
    named = ["tracking.secret_names=[door.pin]", "tracking.harmless_names=[api_key]"]
    for tracking in ("off", "mlflow"):
        done = kit.explr(
            *("train_model=job.py:train", f"tracking={tracking}", f"hydra.run.dir={tracking}"),
            *(*named, "+door.pin=kanari-pin", "+api_key=none of it"),
        )
        assert done.returncode == 0, done.stderr
        params = json.loads((tmp_path / tracking / "result.json").read_text())["params"]
        assert params["door"] == {"pin": "***"}
        assert params["api_key"] == "none of it"
    assert watched.found() == []
