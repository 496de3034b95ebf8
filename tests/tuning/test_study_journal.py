"""A study's journal is read as Optuna reads it, while it grows too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from explr.tuning import study as study_module
from explr.tuning.search_space import parse
from explr.tuning.storage.journal import STUDY_FILE, JournalLines
from explr.tuning.storage.opening import study_storage
from explr.tuning.study import Study

SPACE, _ = parse({"lr": "tag(log, interval(1e-5, 1e-1))", "width": "choice(16, 32)"})


def append(folder: Path, *lines: str) -> None:
    with (folder / STUDY_FILE).open("a") as file:
        file.writelines(lines)


def report(trial: int, step: int, value: str) -> str:
    return (
        f'{{"op_code":7,"worker_id":"w","trial_id":{trial},"step":{step},'
        f'"intermediate_value":{value}}}\n'
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of three trials, the last of which runs."""
    study = Study(tmp_path, "sweep", ["minimize"])
    for state in ("COMPLETE", "PRUNED", "RUNNING"):
        number, _ = study.ask(lambda values: SPACE)
        for step in range(4):
            study.report(number, step, step / 3)
        if state != "RUNNING":
            study.tell(number, state, (0.5,) if state == "COMPLETE" else ())
    return tmp_path


@pytest.mark.parametrize(
    "lines",
    [
        [report(2, 4, "NaN"), report(2, 5, "-Infinity"), report(2, 6, "1e-300")],
        [report(2, 3, "9.5"), report(0, 4, "9.5"), report(99, 0, "9.5")],
        ['{"op_code":8,"worker_id":"w","trial_id":2,"user_attr":{"step":{"a":1,"step":2,'
         '"intermediate_value":3}}}\n', report(2, 4, "0.5")],
        ['{"op_code":7,"intermediate_value":0.25,"worker_id":"w","step":4,"trial_id":2}\n'],
        ['{"op_code":6,"worker_id":"w","trial_id":2,"state":3,"values":null,'
         '"datetime_complete":"2026-01-01T00:00:00+00:00"}\n', report(2, 4, "0.5")],
        [report(2, 4, "0.5"), report(2, 5, "0.5")[:-9]],
    ],
    ids=["numbers", "ignored", "attribute", "other order", "told after the end", "torn"],
)  # fmt: skip
def test_reads_what_optuna_reads(folder: Path, lines: list[str]) -> None:
    before = study_storage(folder)
    append(folder, *lines)
    after = study_storage(folder)
    theirs = JournalStorage(JournalFileBackend(str(folder / STUDY_FILE)))
    assert told(before) == told(after) == told(theirs)


def told(storage: Any) -> list[str]:
    return [repr(vars(trial)) for trial in storage.get_all_trials(0)]


def test_goes_on_after_an_operation_that_failed(folder: Path) -> None:
    study = Study(folder, "sweep", ["minimize"])
    with pytest.raises(Exception, match="already finished"):
        study.held._storage.set_trial_state_values(0, TrialState.FAIL)
    study.held.set_user_attr("key", 1)
    assert study_storage(folder).get_study_user_attrs(0)["key"] == 1
    assert study.held.user_attrs["key"] == 1


def test_a_line_that_is_completed_while_the_journal_is_read(folder: Path) -> None:
    line = report(2, 4, "0.5")
    append(folder, line[:-9])
    lines = iter(JournalLines(folder / STUDY_FILE))
    before = [next(lines) for _ in (folder / STUDY_FILE).read_bytes().splitlines()[:-1]]
    append(folder, line[-9:])
    assert list(lines) == []
    assert [*JournalLines(folder / STUDY_FILE)] == [*before, line.encode()]


def test_a_trial_and_the_ends_before_it_are_on_the_disk_before_it_starts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[bytes] = []
    monkeypatch.setattr(study_module, "flush", lambda path: flushed.append(path.read_bytes()))
    study = Study(folder, "sweep", ["minimize"])
    study.unfinished(lambda values: SPACE)
    study.tell(2, "COMPLETE", [0.5])
    assert flushed == []
    study.ask(lambda values: SPACE)
    assert flushed == [(folder / STUDY_FILE).read_bytes()]
    monkeypatch.setattr(study_module, "FLUSH_EVERY_S", math.inf)
    study.ask(lambda values: SPACE)
    assert len(flushed) == 1
