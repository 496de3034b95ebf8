"""A team's set-up: a real MLflow server over a real PostgreSQL, with explr beside it."""

import math
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import held_port
from remote_server import Server

from explr.tracking.journal.pending import entries
from explr.tracking.mlflow.serving.server_process import answers

pytestmark = pytest.mark.slow

PASSWORD = "sesame-open"
SERVERS_ACCOUNT = "postgres"


def programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    return found[-1].parent if found else Path(str(on_path)).parent


def account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: who it runs as."""
    if os.getuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(SERVERS_ACCOUNT)
    except KeyError:
        pytest.skip(f"root cannot run PostgreSQL, and there is no account {SERVERS_ACCOUNT}")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of a database of its own, with a password."""
    pytest.importorskip("psycopg2")
    binaries, who = programs(), account()
    with tempfile.TemporaryDirectory(prefix="explr-pg-") as name, held_port() as port:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            if who:
                os.chown(path, who["user"], who["group"])
        initialise = [binaries / "initdb", "-D", folder / "data", "-U", "mlflow", "-E", "UTF8"]
        protect = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"]
        subprocess.run([*initialise, *protect], check=True, capture_output=True, cwd="/", **who)
        serve = [binaries / "postgres", "-D", folder / "data", "-F", "-p", str(port)]
        process = subprocess.Popen(
            [*serve, "-k", folder, "-c", "listen_addresses=127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **who,
        )
        try:
            yield f"postgresql+psycopg2://mlflow:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


@pytest.fixture
def server(database: str, kit: Any, port: int, tmp_path: Path) -> Iterator[str]:
    """Address of an MLflow server over the database."""
    import psycopg2

    def connects() -> bool:
        try:
            psycopg2.connect(database.replace("+psycopg2", "")).close()
        except psycopg2.OperationalError:
            return False
        return True

    kit.eventually(connects, "PostgreSQL")
    served = Server(tmp_path, port, database)
    served.start()
    try:
        kit.eventually(lambda: answers(served.uri, 5.0), "the server")
        yield served.uri
    finally:
        served.kill()


def test_a_sweep_in_postgresql(server: str, database: str, kit: Any, tmp_path: Path) -> None:
    sweep = kit.begin(tmp_path / "sweep", server, params={"ü": "x" * 7000})
    trial = kit.begin(tmp_path / "sweep" / "0", server, parent=sweep.journal.path)
    values = [0.5, math.nan, math.inf, -math.inf, 1e-300]
    for value in values:
        trial.tracker.log_metric("loss", value, step=2**40)
    for step in range(2500):
        trial.tracker.log_metric("many@once", step / 3, step=step)
    trial.tracker.log_params({"lr": 0.1})
    trial.tracker.log_params({"lr": 0.2})
    trial.tracker.log_text("hé", "notes.txt")
    model = tmp_path / "model.bin"
    model.write_bytes(b"123")
    sweep.register("digits", model, "the best", trial.journal.path)
    trial.close("FINISHED")
    sweep.close("FINISHED")
    kit.eventually(lambda: kit.ship(server) or not entries(), "all of it in MLflow")
    trial.journal.path.with_suffix(".position").unlink()
    kit.ship(server)

    remote = kit.store_at(server)
    parent, child = remote.run("sweep"), remote.run("0")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.info.status == parent.info.status == "FINISHED"
    history = remote.client.get_metric_history(child.info.run_id, "loss")
    assert {m.step for m in history} == {2**40}
    assert len(history) == len(values)
    (many,) = [name for name in child.data.metrics if name.startswith("many_once")]
    assert remote.rows(child, many) == [(step, step / 3) for step in range(2500)]
    assert (child.data.params["lr"], child.data.tags["changed.lr"]) == ("0.1", "0.2")
    assert "notes.txt" in remote.artifacts(child)
    assert "7000 characters" in parent.data.params["ü"]
    version = remote.client.get_model_version_by_alias("digits", "best")
    assert version.run_id == child.info.run_id
    assert "model/model.bin" in remote.artifacts(child)

    # Past the server too: the address of the database, whose password is written nowhere.
    direct = kit.begin(tmp_path / "direct", database)
    direct.tracker.log_metric("loss", 0.25)
    direct.close("FINISHED")
    kit.eventually(lambda: kit.ship(database) or not entries(), "the direct run in MLflow")
    assert remote.rows(remote.run("direct"), "loss") == [(0, 0.25)]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []
