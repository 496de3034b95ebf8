"""A canary in every place where a secret may stand, and a search through all that was written."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from explr.tracking.home import explr_home

pytestmark = pytest.mark.slow

PLAIN, URL, VARIABLE, OTHER = "CANARY-plain", "CANARY-url", "CANARY-variable", "CANARY-other"
SETTINGS = (
    f"+db.password={PLAIN}",
    f"+db.url=postgresql://me:{URL}@host/db",
    "+api_token=${oc.env:MY_VARIABLE}",
    "+endpoint=${oc.env:MY_ENDPOINT}",
    "+again=${endpoint}",
)
BODY = """
import logging
given = ctx.hyperparameters
assert given["endpoint"] == given["again"] == os.environ["MY_ENDPOINT"]
logging.getLogger("mine").warning("logging in as %s", given["db"]["password"])
ctx.tracker.log_params({"more": {"secret": given["db"]["password"]}, "x": given["api_token"]})
ctx.tracker.set_tag("note", "with " + given["api_token"])
if given.get("fails"):
    raise ValueError(f"refused: {given['db']['password']} {given['api_token']}")
return 1.0 / (1.0 + given["lr"])
"""


@pytest.fixture
def train(store: Any, kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MY_VARIABLE", VARIABLE)
    monkeypatch.setenv("MY_ENDPOINT", OTHER)
    return str(kit.write_training(tmp_path / "job.py", BODY))


def found_canaries(kit: Any, root: Path) -> list[str]:
    """Where the word is in a file, in the name of one, or in a row of a database, in the end."""
    kit.eventually(lambda: not kit.companions_of(explr_home()), "the end of the companions")
    found = []
    for path in root.rglob("*"):
        if "CANARY" in path.name or (path.is_file() and b"CANARY" in path.read_bytes()):
            found.append(str(path))
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                found += [line for line in database.iterdump() if "CANARY" in line]
    return [name for name in found if not name.endswith(("job.py", ".pyc"))]


def test_a_run_writes_no_secret(train: str, store: Any, kit: Any, tmp_path: Path) -> None:
    done = kit.explr(train, *SETTINGS, "lr=0.5", "tracking.drain_timeout_s=200")
    assert done.returncode == 0, done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    failed = kit.explr(train, *SETTINGS, "+fails=true", "tracking.drain_timeout_s=200")
    assert failed.returncode == 1
    assert "ValueError: refused: *** ***" in failed.stderr
    assert found_canaries(kit, tmp_path) == []
    good = next(run for run in store.runs() if run.info.status == "FINISHED")
    params = good.data.params
    assert params["db.password"] == params["more.secret"] == "***"
    assert params["db.url"] == "postgresql://***@host/db"
    assert params["api_token"] == "${oc.env:MY_VARIABLE}"
    assert (params["endpoint"], params["again"]) == ("${oc.env:MY_ENDPOINT}", "${endpoint}")
    assert params["lr"] == "0.5"
    assert "db.password=***" in good.data.tags["explr.command"]
    assert ".hydra/overrides.yaml" in store.artifacts(good)


def test_a_run_without_tracking_writes_no_secret(train: str, kit: Any, tmp_path: Path) -> None:
    assert kit.explr(train, *SETTINGS, "tracking=off").returncode == 0
    assert found_canaries(kit, tmp_path) == []


def test_a_rerun_takes_secrets_from_the_environment(train: str, kit: Any, tmp_path: Path) -> None:
    where = ("tracking=off", "hydra.run.dir=out")
    assert kit.explr(train, *SETTINGS, *where).returncode == 0
    refused = kit.explr("--experimental-rerun", "out")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "the command of the run in out had secrets, which explr does not save"
    )
    assert "(db.password, db.url)" in refused.stderr
    given = ("db.password=CANARY-again", "db.url=none")
    again = kit.explr("--experimental-rerun", "out", *given)
    assert again.returncode == 0, again.stderr
    assert found_canaries(kit, tmp_path) == []


@pytest.mark.parametrize("launcher", ["explr_local", "basic"])
def test_a_sweep_writes_no_secret_and_continues(
    launcher: str, train: str, store: Any, kit: Any, tmp_path: Path
) -> None:
    sweep = [
        *("tuner=optuna", "tuner.study_name=s", "tuner/pruner=none", "-m", "lr=interval(0.1,0.5)"),
        f"hydra/launcher={launcher}",
        "tracking.drain_timeout_s=200",
    ]
    reference = [text for text in SETTINGS if "CANARY-" not in text]
    safe = [*reference, "+db.password=${oc.env:MY_VARIABLE}", f"+db.url=http://{URL}@h"]
    done = kit.explr(train, *sweep, *safe, "tuner.n_trials=2", "+fails=choice(false,true)")
    assert done.returncode in (0, 1), done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    assert found_canaries(kit, tmp_path) == []
    folder = tmp_path / "multirun" / "s"
    refused = kit.explr("resume", str(folder))
    assert refused.returncode == 2
    assert "had secrets, which explr does not save (db.url)" in refused.stderr

    command = json.loads((folder / "sweep.json").read_text())
    command["argv"] = [text.replace("***@", "") for text in command["argv"]]
    command["argv"] = [text.replace("n_trials=2", "n_trials=3") for text in command["argv"]]
    (folder / "sweep.json").write_text(json.dumps(command))
    again = kit.explr("resume", str(folder))
    assert len(json.loads((folder / "results.json").read_text())["trials"]) == 3, again.stderr
    assert found_canaries(kit, tmp_path) == []


def test_a_grid_writes_no_secret(train: str, kit: Any, tmp_path: Path) -> None:
    done = kit.explr("-m", train, *SETTINGS, "lr=0.1,0.2", "tracking.drain_timeout_s=200")
    assert done.returncode == 0, done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    assert list(tmp_path.rglob("multirun.yaml"))
    assert found_canaries(kit, tmp_path) == []


def test_an_address_with_a_password_is_written_without_it(
    train: str, kit: Any, home: Path, tmp_path: Path
) -> None:
    uri = f"http://me:{URL}@127.0.0.1:9"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
    kit.write_training(tmp_path / "job.py", kit.until_tried + BODY)
    done = kit.explr(train, *SETTINGS, "tracking.drain_timeout_s=1", env=environment)
    assert done.returncode == 0, done.stderr
    assert "CANARY" not in done.stdout + done.stderr
    assert "connection refused" in done.stdout
    kit.kill_companions(home)
    synced = kit.explr("sync", env=environment)
    assert synced.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in synced.stderr.replace("***@", "")
    assert found_canaries(kit, tmp_path) == []
