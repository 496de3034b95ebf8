"""`explr resume RUN` goes on with a single training that was cut off."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from explr.core import ownership
from explr.core.errors import UsageError
from explr.results.single import RESUMES, RUN, note_command, takes_up
from explr.runner.cli.resume import latest_total, resume

SCRIPT = """
import os, signal, explr

def train_model(ctx):
    saved = ctx.load_checkpoint()
    start = saved[0] + 1 if saved else 0
    print("starts at", start, flush=True)
    for epoch in range(start, 4):
        ctx.tracker.log_metric("val_loss", 1 / (epoch + 1), step=epoch)
        ctx.save_checkpoint({}, step=epoch)
        if epoch == 1 and saved is None:
            os.kill(os.getpid(), signal.SIGKILL)
    return 0.25

if __name__ == "__main__":
    explr.main(train_model, hyperparameters={"lr": 0.1})
"""


def test_a_killed_training_goes_on_from_its_checkpoint_as_the_same_run(
    explr: Any, tmp_path: Path, template: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mlflow.db").write_bytes(template.read_bytes())
    (tmp_path / "fit.py").write_text(SCRIPT)
    place = {"EXPLR_HOME": str(home), "EXPLR_AUTOSTART": "0"}
    line = ("lr=0.5", "framework=none", "gpu=cpu", "tracking.drain_timeout_s=200")
    killed = explr.python("fit.py", *line, **place)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = explr("resume", "--last", **place)
    assert done.returncode == 0, done.stderr
    assert "starts at 2" in done.stdout
    with sqlite3.connect(home / "mlflow.db") as store:
        assert store.execute("SELECT name, status FROM runs").fetchall() == [("lr=0.5", "FINISHED")]
        rows = store.execute("SELECT step FROM metrics WHERE key = 'val_loss' ORDER BY step")
        assert [step for (step,) in rows] == [0, 1, 2, 3]
        (experiment,) = store.execute("SELECT experiment_id FROM runs").fetchone()
        named = store.execute("SELECT name FROM experiments WHERE experiment_id = ?", [experiment])
        assert named.fetchone() == ("fit",)
    (run,) = tmp_path.glob("outputs/*/*")
    assert "hydra.run.dir" not in (run / RUN).read_text()  # the command is kept as it was typed
    again = explr("resume", str(run), **place)
    assert (again.returncode, "is finished" in again.stderr) == (2, True)
    (run / "result.json").unlink()  # as if it had been cut off a moment earlier
    words = json.loads((run / RUN).read_text())
    words["argv"] = [word.replace("lr=0.5", "lr=0.7") for word in words["argv"]]
    (run / RUN).write_text(json.dumps(words))
    changed = explr("resume", "--last", **place)
    assert (changed.returncode, "lr was 0.5 and is 0.7" in changed.stderr) == (2, True)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that another process began, and that was cut off."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "r"
    folder.mkdir(parents=True)
    note_command(folder, resumes=False)
    content = json.loads((folder / RUN).read_text())
    content |= {"started": "long ago", "argv": ["-m", "explr", "lr=0.5"], "cwd": str(tmp_path)}
    (folder / RUN).write_text(json.dumps(content))
    return folder


def test_its_command_runs_again_in_its_folder(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    begun: list[list[str]] = []

    def become(program: str, words: list[str]) -> None:
        begun.append(words)
        raise ProcessLookupError

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setenv(RESUMES, "")
    with pytest.raises(ProcessLookupError):
        resume(None)
    assert begun[0][-2:] == ["lr=0.5", f'hydra.run.dir="{run}"']
    assert "lr=0.5" in capsys.readouterr().out
    assert takes_up(run)
    assert not takes_up(run)  # a command that the training starts is none


def test_one_that_runs_is_refused(run: Path) -> None:
    note_command(run, resumes=False)
    with pytest.raises(UsageError, match=f"still runs, as process {os.getpid()}"):
        resume(run)


def test_one_of_another_user_needs_trust(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership.os, "getuid", lambda: 4711)
    with pytest.raises(UsageError, match="--trust"):
        resume(run)


def test_one_with_a_secret_is_not_run_without_it(run: Path) -> None:
    content = json.loads((run / RUN).read_text()) | {"argv": ["-m", "explr", "api_key=***"]}
    (run / RUN).write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"had secrets.*api_key"):
        resume(run)


def test_a_run_of_another_app_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    for name in ("config", "hydra", "overrides"):
        (tmp_path / ".hydra" / f"{name}.yaml").write_text("[]")
    with pytest.raises(UsageError, match=r"run the command again with hydra\.run\.dir="):
        resume(tmp_path)


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["tuner.n_trials=20"], ["tuner.n_trials=60"]),
        (["tuner.n_trials=60"], []),
        (["experiment=long"], []),  # which says it itself
    ],
)
def test_a_sweep_that_was_to_have_more_trials_gets_them(
    tmp_path: Path, words: list[str], more: list[str]
) -> None:
    choices = {"choices": {"explr/schema@objective": "objective"}}
    saved = {"tuner": {"n_trials": 60}, "hydra": {"runtime": choices}}
    OmegaConf.save(saved, tmp_path / "multirun.yaml")
    assert list(latest_total(tmp_path, words)) == more
