import os
import pwd
import re
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from explr.core.errors import ExplrError, TrackingError
from explr.tracking.home import (
    MAX_LOG_BYTES,
    artifact_root,
    ensure_home,
    explr_home,
    is_local_store,
    local_store_uri,
    rotated_log,
)
from explr.utils.settings import read_settings, settings_path, write_setting


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "home"
    monkeypatch.setenv("EXPLR_HOME", str(path))
    return path


def test_is_made_for_the_user_alone(home: Path):
    assert explr_home() == home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_keeps_the_mode_of_a_folder_that_exists(home: Path):
    home.mkdir(parents=True)
    home.chmod(0o750)
    assert explr_home() == home
    assert stat.S_IMODE(home.stat().st_mode) == 0o750


def test_is_absolute_also_where_the_variable_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPLR_HOME", "here/../there")
    assert explr_home() == tmp_path / "there"


def test_expands_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EXPLR_HOME", "~/explr")
    assert explr_home() == tmp_path / "explr"


@pytest.mark.skipif(sys.platform != "linux", reason="the folder differs between platforms")
@pytest.mark.parametrize("value", [None, ""])
def test_is_the_platforms_data_folder_without_the_variable(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("EXPLR_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("EXPLR_HOME", value)
    assert explr_home() == tmp_path / "explr"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the system does not know, in an empty environment."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "EXPLR_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("value", [None, "~/explr"])
def test_a_user_without_a_home_folder_is_told_what_to_set(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if value is not None:
        monkeypatch.setenv("EXPLR_HOME", value)
    monkeypatch.chdir(tmp_path)
    what = f"EXPLR_HOME={value}" if value else "HOME is not set"
    said = rf"{re.escape(what)}, and the system knows no home .* {os.getuid()}: set EXPLR_HOME to"
    for needs_one in (explr_home, partial(write_setting, "a", 1)):
        with pytest.raises(ExplrError, match=said):
            needs_one()
    assert read_settings() == {}
    assert settings_path() is None
    assert list(tmp_path.iterdir()) == []  # no folder `~`
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path))
    write_setting("a", 1)
    assert read_settings() == {"a": 1}
    ensure_home()  # MLflow cannot be imported without
    assert Path.home() == tmp_path


def test_a_home_folder_stays(home: Path, monkeypatch: pytest.MonkeyPatch):
    before = Path.home()
    ensure_home()
    assert Path.home() == before


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "home"
    monkeypatch.setenv("EXPLR_HOME", str(path))
    with pytest.raises(TrackingError, match="EXPLR_HOME") as caught:
        explr_home()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_place_that_no_store_address_can_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path / "what?"))
    with pytest.raises(TrackingError, match="question mark"):
        explr_home()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_named(home: Path):
    home.mkdir(parents=True)
    home.chmod(0o500)
    with pytest.raises(TrackingError, match="cannot be written"):
        explr_home()


def test_store_and_artifacts_lie_in_it(home: Path, tmp_path: Path):
    assert local_store_uri() == f"sqlite:///{home}/mlflow.db"
    assert artifact_root() == home / "artifacts"
    assert local_store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert artifact_root(tmp_path) == tmp_path / "artifacts"
    assert is_local_store(local_store_uri())


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("sqlite:////home/me/mlflow.db", True),
        ("sqlite:///mlflow.db", True),
        ("sqlite+pysqlite:///mlflow.db?timeout=60", True),
        ("sqlite:///:memory:", False),
        ("sqlite://", False),
        ("sqlite:///", False),
        ("http://127.0.0.1:5000", False),
        ("https://user:word@mlflow.example.org", False),
        ("postgresql://me@db/mlflow", False),
        ("databricks", False),
        ("./mlruns", False),
        ("file:///home/me/mlruns", False),
        ("", False),
    ],
)
def test_only_an_sqlite_file_is_a_local_store(uri: str, local: bool):
    assert is_local_store(uri) is local


def test_imports_nothing_heavy():
    program = (
        "import sys, explr.tracking.home, explr.tracking.server, explr.utils.processes\n"
        "heavy = {'platformdirs', 'psutil', 'filelock', 'urllib.request', 'http', 'mlflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "mirror.log"
    assert rotated_log(log) == log
    log.write_bytes(b"new")
    assert rotated_log(log).read_bytes() == b"new"
    with log.open("r+b") as file:
        file.truncate(MAX_LOG_BYTES + 1)
    assert not rotated_log(log).exists()
    assert (tmp_path / "mirror.log.1").stat().st_size == MAX_LOG_BYTES + 1
