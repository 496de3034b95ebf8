"""Which kinds of failures a sweep is said to have had, and for which parameters."""

from __future__ import annotations

from typing import Any

from explr.results.failures import condition, failures_line

GRID = [
    {"width": width, "batch_size": batch, "lr": lr}
    for width in (128, 256, 512, 1024)
    for batch in (64, 128, 256)
    for lr in (0.1, 0.01, 0.001)
]


def trial(params: dict[str, Any], failure: str | None = None, state: str = "") -> dict[str, Any]:
    return {"params": params, "state": state or "COMPLETE", "failure": failure}


def split(fails: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return [each for each in GRID if fails(each)], [each for each in GRID if not fails(each)]


def test_two_bounds_that_hold_for_all_failures_and_hardly_any_other_trial() -> None:
    failed, others = split(lambda p: p["width"] >= 512 and p["batch_size"] >= 256)
    assert condition(failed, others) == "width >= 512 and batch_size >= 256"


def test_one_bound_where_one_is_enough() -> None:
    assert condition(*split(lambda p: p["lr"] >= 0.1)) == "lr >= 0.1"
    assert condition(*split(lambda p: p["width"] <= 128)) == "width <= 128"


def test_choices() -> None:
    params = [
        {"kind": kind, "x": x / 10} for kind in ("adam", "sgd", "lion", "rms") for x in range(10)
    ]
    failed = [each for each in params if each["kind"] in ("lion", "sgd")]
    others = [each for each in params if each not in failed]
    assert condition(failed, others) == "kind is sgd or lion"


def test_no_condition_without_evidence() -> None:
    scattered = [GRID[place] for place in (0, 8, 15, 27, 35)]
    assert condition(scattered, [each for each in GRID if each not in scattered]) == ""
    assert condition(GRID[-2:], GRID[:-2]) == ""  # too few
    assert condition(GRID, []) == ""
    # Of two trials of three, each bound holds by chance.
    assert condition([{"x": 3}, {"x": 4}, {"x": 5}], [{"x": 1}, {"x": 2}]) == ""


def test_parameters_that_only_some_trials_have() -> None:
    params = [{"kind": "sgd", "momentum": m / 20} for m in range(20)]
    params += [{"kind": "adam", "beta": m / 20} for m in range(20)]
    failed = [each for each in params if each.get("momentum", 0.0) >= 0.7]
    others = [each for each in params if each not in failed]
    assert condition(failed, others) == "momentum >= 0.7"


def test_the_kinds_of_failures_the_most_frequent_first() -> None:
    failed, others = split(lambda p: p["width"] >= 512 and p["batch_size"] >= 256)
    trials = [trial(params) for params in others]
    trials += [trial(params, "out of memory", "FAIL") for params in failed]
    trials += [trial(params, "killed", "FAIL") for params in others[:4]]
    trials += [trial(others[0], None, "FAIL")]
    assert failures_line(trials) == (
        "11 failed: 6 out of memory where width >= 512 and batch_size >= 256, 4 killed, "
        "1 of unknown kind"
    )
    assert failures_line(trials[:5]) is None
