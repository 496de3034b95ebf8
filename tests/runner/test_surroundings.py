"""Commands where much is missing: a home folder, locks, an encoding that has every character."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from explr.config.messages import check_text, usage_text
from explr.core.errors import UsageError

IN_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

TRAINING = """\
def train(ctx):
    for step in range(2):
        ctx.report(step, val_loss=1.0, **{"gr\xf6\xdfe": 2.0})
    print("\xfcber")
    return ctx.hyperparameters["lr"]
"""

NO_LOCKS = """\
#include <errno.h>
int flock(int file, int operation) { errno = %d; return -1; }
"""


@pytest.fixture
def training(tmp_path: Path) -> Path:
    (tmp_path / "gr\xf6\xdfe.py").write_text(TRAINING, encoding="utf-8")
    (tmp_path / "plain.py").write_text(TRAINING, encoding="utf-8")
    return tmp_path


def test_a_text_that_cannot_be_written_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"'b\\udcff' cannot be .* not valid UTF-8: name it"):
        check_text("a", "b\udcff")
    error = UnicodeEncodeError("ascii", "a\xfc", 1, 2, "ordinal not in range(128)")
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert usage_text(error) == (
        "'a\\xfc' cannot be written in ascii, which is the encoding of this locale: set "
        "PYTHONUTF8=1, or a locale with UTF-8 such as LC_ALL=C.UTF-8"
    )


@pytest.mark.parametrize(
    ("number", "names", "said"),
    [
        (errno.EXDEV, ("/n/.writing-a", None, "/n/a.json"), "/n/a.json cannot be used: Inv"),
        (errno.EROFS, ("/n/a.json",), "/n/a.json cannot be used: Read-only file system"),
        (errno.ESTALE, ("/n/a.json",), "/n/a.json was replaced or removed by another machine"),
        (errno.ESTALE, (), "a file was replaced or removed by another machine while it was used"),
    ],
)
def test_what_a_file_system_cannot_do_is_one_sentence(
    number: int, names: tuple[str | None, ...], said: str
) -> None:
    error = OSError(number, os.strerror(number), *names)
    text = usage_text(error)
    assert text is not None
    assert text.startswith(said)
    assert "\n" not in text


PRINTS_IN_C = """\
import os


def train(ctx):
    numbers = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
    os.write(1, b"as C code does")
    os.write(2, b"as C code does")
    print("over", flush=True)
    (ctx.output_dir / "streams").write_text(" ".join(numbers))
    os.system("echo over")
    return 0.5
"""


@pytest.mark.slow
def test_standard_streams_that_are_closed(explr: Any, training: Path) -> None:
    """No file gets the number of one, and so what C code prints."""
    (training / "prints.py").write_text(PRINTS_IN_C)
    line = [sys.executable, "-m", "explr", "train_model=prints.py:train", "hydra.run.dir=out"]
    line += ["tracking=mlflow", "tracking.drain_timeout_s=0"]
    run = partial(subprocess.run, cwd=training, capture_output=True, text=True, check=False)
    done = run(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *line])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (training / "out" / "streams").read_text() == "/dev/null /dev/null /dev/null"
    assert (training / "out" / "result.json").exists()
    for file in (training / "out").rglob("*"):
        assert not (file.is_file() and b"as C code does" in file.read_bytes()), file
    refused = run(["bash", "-c", 'exec "$@" >&-', "bash", *line, "tracking=nowhere"])
    assert refused.returncode == 2
    assert refused.stderr.startswith("tracking=nowhere: there is no such option")


@pytest.mark.slow
def test_a_terminal_in_ascii(explr: Any, training: Path) -> None:
    train = ("-m", "explr", "tracking=off")
    plain = explr.python(*train, "train_model=plain.py:train", "lr=0.5", **IN_ASCII)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "\\xfcber\nResult: val_loss 0.5" in plain.stdout
    sweep = (*train, "tuner=optuna", "tuner.n_trials=1", "train_model=plain.py:train", "-m")
    swept = explr.python(*sweep, "lr=interval(0,1)", **IN_ASCII)
    assert (swept.returncode, swept.stderr) == (0, "")
    (training / "\xfc").mkdir()
    (training / "\xfc" / "plain.py").write_text(TRAINING, encoding="utf-8")
    refused = explr.python(*sweep, "lr=interval(0,1)", cwd=training / "\xfc", **IN_ASCII)
    assert refused.returncode == 2
    assert "cannot be written in ascii, which is the encoding of this locale" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
def test_a_file_system_without_locks(explr: Any, training: Path, tmp_path: Path) -> None:
    """The library that stands in for the file system has no `flock`."""
    source, library = tmp_path / "no_locks.c", tmp_path / "no_locks.so"
    source.write_text(NO_LOCKS % errno.ENOLCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    without = {"LD_PRELOAD": str(library)}
    line = ("-m", "explr", "tracking=off", "tuner=optuna", "hydra.sweep.dir=sweep", "-m")
    search = ("train_model=plain.py:train", "lr=interval(0,1)", "tuner.n_trials=1")
    swept = explr.python(*line, *search, **without)
    assert (swept.returncode, swept.stderr) == (0, "")
    held = tmp_path / "sweep" / "sweep.lock.held"
    assert not held.exists()
    held.write_text("4711\nnode7\n")
    resumed = explr.python(*line, *search, **without)
    assert (resumed.returncode, resumed.stdout) == (2, "")
    assert resumed.stderr.endswith(f"if it is gone with its machine, delete {held}\n")


SHADOWS = ("random", "queue", "secrets", "tempfile", "flask", "hydra_plugins/mine", "sitecustomize")


@pytest.mark.slow
def test_files_of_the_working_directory_take_no_modules_place(explr: Any, training: Path) -> None:
    """Nothing but a training is imported from there, and only when it is asked for."""
    for name in SHADOWS:
        file = training / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"open({str(training / 'imported')!r}, 'a').write({name + ' '!r})\n")
    module = ("-m", "explr")
    for quiet in (["--help"], ["--version"], ["list"], ["plan", "--help"], ["best", "."]):
        explr.python(*module, *quiet)
    planned = explr.python(*module, "plan", "train_model=plain.py:train", "tracking=off")
    assert planned.returncode == 0, planned.stderr
    completed = explr.python(*module, _EXPLR_COMPLETE="explr tuner=")
    assert not (training / "imported").exists(), completed
    sweep = ("tuner=optuna", "tuner.n_trials=1", "-m", "lr=interval(0,1)")
    for line in ([], sweep):
        done = explr.python(*module, "train_model=plain.py:train", "tracking=off", *line)
        assert done.returncode == 0, done.stderr
    imported = training / "imported"
    assert set(imported.read_text().split() if imported.exists() else ()) <= {"hydra_plugins/mine"}
