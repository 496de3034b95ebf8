"""What is said at the end of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from explr.results.summary import best_trials, counts_line, pruned_line, table_of, tell
from explr.results.table import lines_of
from explr.results.text import brief


def trial(number: int, state: str, value: Any, steps: int = 0, **params: Any) -> dict[str, Any]:
    return {
        "number": number, "state": state, "value": value, "steps": steps, "params": params,
        "duration_s": 1.25, "dir": f"/somewhere/multirun/s/{number}",
    }  # fmt: skip


TRIALS = [
    trial(0, "COMPLETE", 0.5, 10, lr=0.1, width=32),
    trial(1, "COMPLETE", 0.125, 8, lr=0.0001234567, kind="a"),
    trial(2, "PRUNED", 0.01, 3, lr=0.2),
    trial(3, "FAIL", None, 2, lr=0.3),
    trial(4, "PRUNED", 0.9, 5, lr=0.4),
]


def test_the_best_are_those_that_completed_in_their_order() -> None:
    assert [t["number"] for t in best_trials(TRIALS, ["minimize"])] == [1, 0]
    assert [t["number"] for t in best_trials(TRIALS, ["maximize"])] == [0, 1]
    many = [trial(n, "COMPLETE", n) for n in range(9)]
    assert [t["number"] for t in best_trials(many, ["maximize"])] == [8, 7, 6, 5, 4]
    front = [trial(7, "COMPLETE", [1, 2])]
    assert best_trials([], ["minimize", "maximize"], front) == front


def test_the_table_is_aligned_text() -> None:
    table = table_of(best_trials(TRIALS, ["minimize"]), ["val_loss"], Path("multirun/s"))
    assert lines_of(table) == [
        "trial  val_loss  duration  folder               lr  kind  width",
        "    1     0.125     1.2 s  multirun/s/1  0.0001235     a",
        "    0       0.5     1.2 s  multirun/s/0        0.1           32",
    ]
    assert lines_of(table_of([], ["val_loss"], Path("s"))) == []


def test_counts_and_what_pruning_saved() -> None:
    assert counts_line(TRIALS) == "5 trials: 2 complete, 2 pruned, 1 fail"
    # 7 + 5 steps that were not trained, of these and the 28 that were.
    assert pruned_line(TRIALS) == "2 pruned trials saved about 12 of 40 steps (30%)"
    assert pruned_line(TRIALS[:2]) is None
    assert pruned_line([trial(0, "PRUNED", 1, 3)]) is None  # there is nothing to measure against


def test_secrets_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    tell(table_of([trial(0, "COMPLETE", 1.0, api_key="s3cr3t-s3cr3t")], ["x"], None), ["a line"])
    out = capsys.readouterr().out
    assert "s3cr3t" not in out
    assert out.endswith("a line\n")


def test_durations() -> None:
    assert (brief(0.04), brief(59.94), brief(61)) == ("0.0 s", "59.9 s", "1:01")
