"""A file of a sweep that is damaged, gone or of another version is read, repaired or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import DAMAGE, Damage

from explr.core.errors import UsageError
from explr.core.folders import COMMAND, RESULT, RESULTS, best_trial, write_json
from explr.results.command import sweep_command
from explr.results.run import read_run
from explr.results.sweep import read_sweep
from explr.runner.cli.resume import resume
from explr.sweep.folder import SweepFolder
from explr.tuning.search_space import parse
from explr.tuning.storage.journal import STUDY_FILE
from explr.tuning.study import Study

TRIALS = 3

SPACE, _ = parse({"lr": "interval(0,1)"})


def start(folder: Path) -> int:
    """Open the study as the command of the sweep does; returns its number of trials."""
    return len(Study(folder, "s", ["minimize"]).frozen())


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep that has ended."""
    study = Study(tmp_path, "s", ["minimize"])
    folder = SweepFolder(tmp_path, study, 1, lambda name, value: value)
    folder.remember_command([])
    for _ in range(TRIALS):
        number, params = study.ask(lambda values: SPACE)
        (tmp_path / str(number) / ".hydra").mkdir(parents=True)
        for step in range(5):
            study.report(number, step, 1 / (step + 1))
        study.tell(number, "COMPLETE", [params["lr"]])
        ended = {"primary_metric_name": "loss", "primary_metric": 1.0, "metrics": {}}
        content = {"state": "COMPLETE", "number": number, "params": params, "value": params["lr"]}
        more = {"result": {**ended, "minimize": True}, "device": "cpu", "reason": ""}
        write_json(tmp_path / str(number) / RESULT, {**content, **more})
    folder.write_results()
    return tmp_path


def without_line(content: bytes, part: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(line for line in lines if part not in line)


NEWER: dict[str, Damage] = {
    "newer": lambda content: content.replace(b'format": 1', b'format": 99').replace(
        b'format":1', b'format":99'
    )
}

READERS: dict[str, dict[str, Callable[[Path], Any]]] = {
    STUDY_FILE: {"start": start, "report": read_sweep},
    COMMAND: {"start": sweep_command, "resume": resume, "report": read_sweep},
    RESULTS: {"best": best_trial, "report": read_sweep},
    f"1/{RESULT}": {
        "compare": lambda folder: read_run(str(folder / "1"), with_curves=False),
        "best of a grid": lambda folder: (folder / RESULTS).unlink() or best_trial(folder),
    },
}

CASES = [
    pytest.param(name, read, damage, id=f"{name} {reader} {how}")
    for name, readers in READERS.items()
    for reader, read in readers.items()
    for how, damage in {**DAMAGE, **NEWER}.items()
    if (name, reader, how) != (STUDY_FILE, "report", "end")  # it tells what is left
]


@pytest.mark.parametrize(("name", "read", "damage"), CASES)
def test_damage_is_told_in_a_sentence_and_left_as_it_is(
    sweep: Path, name: str, read: Callable[[Path], Any], damage: Damage
) -> None:
    file = sweep / name
    left = damage(file.read_bytes())
    assert left != file.read_bytes()
    file.write_bytes(left)
    with pytest.raises(UsageError) as refusal:
        read(sweep)
    said = str(refusal.value)
    assert "\n" not in said
    assert str(sweep) in said or "the study s" in said
    torn = file.with_name(f"{file.name}.torn")
    assert (torn if torn.exists() else file).read_bytes() == left


@pytest.mark.parametrize("name", READERS)
def test_a_file_without_a_version_is_of_the_first(sweep: Path, name: str) -> None:
    file = sweep / name
    file.write_bytes(without_line(file.read_bytes(), b"format"))
    for read in READERS[name].values():
        if read is not resume:
            assert read(sweep)
    assert start(sweep) == TRIALS


@pytest.mark.parametrize("kept", [COMMAND, RESULTS, "0"])
def test_a_sweep_whose_study_is_gone_does_not_start_over(sweep: Path, kept: str) -> None:
    for path in sweep.iterdir():
        if path.name != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UsageError, match=r"is gone.*name another study with tuner\.study_name"):
        start(sweep)
    assert not (sweep / STUDY_FILE).exists()


def test_a_study_without_one_of_its_trials_is_refused(sweep: Path) -> None:
    file = sweep / STUDY_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith(b'{"op_code":4,'))
    file.write_bytes(b"".join(lines[:last] + lines[last + 1 :]))
    with pytest.raises(UsageError, match="it has 2 trials, and does not know trial 2, which has"):
        start(sweep)


def test_a_study_in_a_database_does_not_start_over(sweep: Path) -> None:
    with pytest.raises(UsageError, match=r"the study s is not in tuner\.storage"):
        Study(sweep, "s", ["minimize"], f"sqlite:///{sweep}/other.db")


def test_a_study_that_was_killed_before_its_first_line_begins_again(tmp_path: Path) -> None:
    (tmp_path / STUDY_FILE).touch()
    assert start(tmp_path) == 0
    before = (tmp_path / STUDY_FILE).read_bytes()
    assert start(tmp_path) == 0
    assert (tmp_path / STUDY_FILE).read_bytes() == before


def test_a_damaged_result_of_a_trial_is_told_and_its_study_knows_better(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = Study(sweep, "s", ["minimize"])
    number, _ = study.ask(lambda values: SPACE)
    study.tell(number, "FAIL", reason="as it was")
    (sweep / str(number)).mkdir()
    (sweep / str(number) / RESULT).write_bytes(b"")
    assert read_sweep(sweep).trials[number].reason == "as it was"
    assert f"{RESULT} is not valid JSON" in caplog.text


def test_trials_that_a_cut_study_lacks_are_told_once(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_sweep(sweep)
    assert caplog.messages == []
    file = sweep / STUDY_FILE
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b'{"op_code":4,')])
    read_sweep(sweep)
    assert caplog.messages == [
        f"the study of {sweep} is damaged: it has 2 trials, and does not know trial 2, which has "
        "run: only the trials that are left are shown"
    ]
    assert len(read_sweep(sweep).trials) == 2


def test_trials_that_are_newer_than_the_results_are_told_once(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert best_trial(sweep)
    assert caplog.messages == []
    shutil.copytree(sweep / "2", sweep / "3")
    assert best_trial(sweep)
    (said,) = caplog.messages
    assert said.startswith(f"{sweep / RESULTS} does not know trial 3, which has run: ")
