"""Each screen at each width: nothing is cut inside a number or a name, and no line is too long."""

from __future__ import annotations

import logging
import math
import re
import shlex
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from explr.core.folders import write_json
from explr.launching.hydra_job import HydraJob
from explr.results import table
from explr.results.live.curve import MOST_VALUES, Curve
from explr.results.live.sweep import SweepProgress
from explr.results.live.terminal import WrappedFormatter
from explr.results.live.training import TrainingProgress
from explr.results.run import RunView
from explr.results.summary import best_line, table_of, tell
from explr.results.table import Column, FittedTable, Row, SideBySide, continued, hanging, lines_of
from explr.results.text import sparkline
from explr.runner.cli import best, compare, gpu, verify
from explr.sweep import plan
from explr.sweep.plan import SweepPlan
from explr.sweep.session import SweepSettings
from explr.tuning.trial import Job, Outcome
from explr.utils.nvml import Driver, Gpu, GpuProcess
from explr.utils.verify.check import failed

WIDTHS = (60, 80, 100, 160)

METRIC = "validation_mean_average_precision"

PARAMS: dict[str, Any] = {
    "learning_rate": 0.00012345678,
    "optimizer.weight_decay": 1.25e-05,
    "model.encoder.hidden_width": 4096,
    "augmentation_policy": "random_crop_and_flip",
    "batch_size": 128,
    "dropout": 0.125,
    "n_layers": 12,
    "use_amp": True,
}


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The columns of the terminal."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setattr(table, "is_terminal", lambda stream: True)
    width: int = request.param
    return width


def words_of(lines: list[str]) -> list[str]:
    return re.split(r"\s+", " ".join(lines))


def assert_whole(lines: list[str], width: int, *words: str) -> None:
    """Each word is there as one word, and no line is longer than the terminal is wide."""
    assert max(map(len, lines)) <= width, "\n".join(lines)
    there = words_of(lines)
    assert [word for word in words if word not in there] == [], "\n".join(lines)


def assert_params(lines: list[str], times: int = 1, **params: str) -> None:
    """The value of each parameter is there, beside its name or in a column below it."""
    there = words_of(lines)
    for name, value in params.items():
        beside = there.count(f"{name}={value}")
        assert beside >= times or (name in there and there.count(value) >= times), name


SHOWN_PARAMS = {
    name: f"{value:.4g}" if isinstance(value, float) else str(value)
    for name, value in PARAMS.items()
}


def swept(metric: str = METRIC, **params: Any) -> SweepProgress:
    """A sweep in which something of each kind has happened."""
    sweep = SweepProgress(
        "multirun/2026-11-30/12-34-56", [metric], [False], 250, slots=lambda: 4, clock=lambda: 100.0
    )
    for number in range(7):
        sweep.started(Job(number, 0, 1, 0, params))
        for step in range(5):
            sweep.reported(number, step, 0.12345678 + number / 10 + step / 100)
    sweep.ended(Job(1, 0, 1, 0, params), Outcome("COMPLETE", (0.23456789,)))
    for number in (0, 2):
        sweep.ended(
            Job(number, 0, 1, 0, params), Outcome("PRUNED", reason="by the tuner, at step 4")
        )
    sweep.ended(Job(3, 0, 1, 0, params), Outcome("FAIL", reason="ValueError: no luck"))
    return sweep


def test_the_live_view_of_a_sweep(width: int) -> None:
    lines = lines_of(swept(**PARAMS), width)
    assert_whole(lines, width, METRIC, "4/250", "0.2346", "0.5635", *"456")
    assert_whole(lines, width, *(f"{k}={v}" for k, v in SHOWN_PARAMS.items()))
    text = " ".join(words_of(lines))
    assert f"pruned trial 2 by the tuner {METRIC} 0.3635 at step 4 best at that step 0.7635" in text
    assert "1 complete 2 pruned 1 failed 3 running on 4 workers" in text
    assert len(lines) <= 25  # as many as a terminal has


def test_a_sweep_of_few_parameters_has_a_column_for_each(width: int) -> None:
    lines = lines_of(swept("val_loss", lr=0.00012345678, width=64), width)
    head = next(line.split() for line in lines if line.split()[:1] == ["trial"])
    assert head[-2:] == ["lr", "width"]
    assert head[:3] == ["trial", "step", "val_loss"]
    assert ("curve" in head, "time" in head) == (True, True)
    row = next(line.split() for line in lines if line.split()[:2] == ["4", "4"])
    assert row == ["4", "4", "0.5635", "▁▃▅▆█", "0:00", "0.0001235", "64"]
    assert max(map(len, lines)) <= width


def test_columns_are_left_out_in_order_of_their_importance() -> None:
    columns = [Column("trial"), Column("step", 1), Column("curve", 2), Column("time", 3)]
    fitted = FittedTable(columns, [Row(["12", "1000", "▁▃▅▆█", "0:12"])])
    heads = [lines_of(fitted, width)[0].split() for width in (24, 23, 17, 10)]
    assert heads == [[column.title for column in columns[:count]] for count in (4, 3, 2, 1)]


def test_a_column_yields_to_those_of_parameters_if_it_says_so() -> None:
    cells = [Row(["1", "multirun/s/1"], {"lr": "0.125", "width": "64"})]
    for yields, head in ((True, ["trial", "lr", "width"]), (False, ["trial", "folder"])):
        fitted = FittedTable([Column("trial"), Column("folder", 1, yields=yields)], cells)
        assert lines_of(fitted, 30)[0].split() == head


def test_a_terminal_of_few_lines_shows_no_parameters_and_then_fewer_trials() -> None:
    rows = [Row([str(number)], {"name": "x" * 30, "other": "y" * 30}) for number in range(9)]
    every = [
        len(lines_of(FittedTable([Column("trial")], rows, True, most), 40)) for most in (28, 27)
    ]
    assert every == [28, 10]
    lines = lines_of(FittedTable([Column("trial")], rows, most_lines=8, more=2), 40)
    assert len(lines) == 8
    assert lines[-1] == "and 5 more"
    assert lines_of(FittedTable([Column("trial")], rows, more=2), 100)[-1] == "and 2 more"


def test_the_line_of_a_training(width: int) -> None:
    now = iter(range(1000))
    training = TrainingProgress(METRIC, False, 100, lambda: next(now))
    for epoch in range(42):
        training.reported(epoch, math.sin(epoch / 10) + 1e-5)
    lines = lines_of(training, width)
    assert len(lines) == 1
    assert_whole(lines, width, "42/100", "-0.8183", "0.9996", "(epoch", "17)")
    assert (METRIC in lines[0], "left" in lines[0]) == (width >= 160, width >= 100)
    assert ("▁" in lines[0] or "█" in lines[0]) == (width >= 80)


def trial(number: int, value: Any, **params: Any) -> dict[str, Any]:
    return {
        "number": number, "state": "COMPLETE", "value": value, "steps": 9, "params": params,
        "duration_s": 4321.5, "dir": f"/somewhere/multirun/s/{number}",
    }  # fmt: skip


COMMAND = shlex.join(["python", "train.py", "data.path=/data/a b/c", *SHOWN_PARAMS, "-q"])


def test_the_end_of_a_sweep(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    trials = [trial(number, 0.12345678 + number, **PARAMS) for number in (123, 45)]
    shown = table_of(trials, [METRIC], Path("multirun/a_study_with_a_rather_long_name"))
    tell(shown, [best_line(trials[0]), continued(f"to train it again: {COMMAND}")])
    lines = capsys.readouterr().out.splitlines()
    assert_whole(lines, width, METRIC, "123", "45", "123.1", "45.12", "1:12:01")
    assert_params(lines, times=2, **SHOWN_PARAMS)
    again = "\n".join(lines).partition("to train it again: ")[2]
    assert shlex.split(again.replace("\\\n", "")) == shlex.split(COMMAND)


def test_the_end_of_a_sweep_with_several_objectives(width: int) -> None:
    names = [METRIC, "latency_ms", "memory_gb", "energy_per_epoch_kwh"]
    lines = lines_of(
        table_of([trial(7, [0.1234, 17.25, 3.5, 0.875], **PARAMS)], names, None), width
    )
    assert_whole(lines, width, METRIC, "0.1234", "17.25", "3.5")
    assert_params(lines, energy_per_epoch_kwh="0.875", **SHOWN_PARAMS)


def test_a_plain_table_has_everything() -> None:
    shown = table_of([trial(1, 0.25, **PARAMS)], [METRIC], Path("multirun/s"))
    head, row = lines_of(shown)
    assert head.split() == ["trial", METRIC, "duration", "folder", *PARAMS]
    assert row.split() == ["1", "0.25", "1:12:01", "multirun/s/1", *SHOWN_PARAMS.values()]
    assert (shown.head, shown.rows) == (head.split(), [row.split()])


def test_runs_side_by_side(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        RunView(
            f"multirun/a_study_with_a_rather_long_name/{number}",
            "COMPLETE",
            {**{name: str(value) for name, value in SHOWN_PARAMS.items()}, "seed": f"{number}"},
            {METRIC: 0.12345678 + number, "cost": 1e-7 * number},
        )
        for number in range(100, 106)
    ]
    runs[0].params["augmentation_policy"] = "none"
    compare._print(runs)
    lines = capsys.readouterr().out.splitlines()
    assert_whole(lines, width, *(run.name for run in runs), METRIC, "augmentation_policy", "none")
    assert_whole(lines, width, *(run.params["seed"] for run in runs))
    assert_whole(lines, width, "100.1", "105.1", "1.05e-05")
    assert words_of(lines).count("random_crop_and_flip") == 5


def test_one_run_whose_value_is_longer_than_the_terminal() -> None:
    lines = lines_of(SideBySide(["a run"], ["run 1"], [["path", "x" * 100]]), 60)
    assert max(map(len, lines)) <= 60
    assert "".join("".join(lines).split()).count("x") == 100


CARDS = [
    Gpu(
        index=index,
        uuid=f"GPU-12345678-1234-1234-1234-12345678901{index}",
        name="NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        compute_capability=(12, 0),
        memory_total_gb=95.6,
        memory_used_gb=12.25,
        memory_free_gb=83.35,
        utilization_percent=97,
        temperature_c=71,
        power_w=512,
        power_limit_w=600,
        mig=False,
        processes=[
            GpuProcess(pid=4194301, name="/home/user/miniconda3/bin/python3.11", memory_gb=11.5)
        ],
    )
    for index in range(4)
]


def test_gpus(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gpu, "read_driver", lambda: Driver(version="570.195.03", cuda=(12, 8), gpus=CARDS)
    )
    gpu.show_gpus(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert_whole(
        lines, width, "570.195.03,", "4194301", "95.6", "sm_120", *(str(g.uuid) for g in CARDS)
    )
    assert any(line.rstrip().endswith("/home/user/miniconda3/bin/python3.11") for line in lines)


def test_a_plan(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    ranges = dict.fromkeys(SHOWN_PARAMS, "choice(0.0125, 0.00125, 0.000125)")
    jobs = [HydraJob(i, [f"{k}={v}" for k, v in SHOWN_PARAMS.items()]) for i in range(2)]
    config = OmegaConf.create({"hydra": {"sweep": {"dir": "out"}, "runtime": {"choices": {}}}})
    planned = SweepPlan(SweepSettings(n_jobs=4), 250, ranges, jobs, [])
    plan.tell(planned.lines("tuner        optuna", config))
    lines = capsys.readouterr().out.splitlines()
    assert_whole(lines, width, *(f"{name}:" for name in ranges), "choice(0.0125,", "0.00125,")
    assert_params(lines, times=2, **SHOWN_PARAMS)


def test_the_checks_of_an_installation(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    seen = "torch 2.10.0+cu128 is built for sm_70, sm_75, sm_80, sm_90, sm_100 and sm_120 in " * 2
    verify._print(
        failed("PyTorch's kernels", seen, "Run pip install --extra-index-url X torch==2.")
    )
    lines = capsys.readouterr().out.splitlines()
    assert_whole(lines, width, "2.10.0+cu128", "--extra-index-url", "torch==2.", "fail")
    assert {line[:6] for line in lines} == {"fail  ", "      "}


STUDY = {"study": "s", "direction": "maximize", "command": "x", "n_trials": 1}


def test_the_best_of_a_sweep(
    width: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "journal-1.jsonl").touch()
    found = {**trial(3, 0.123456789, **PARAMS), "run_id": "0123456789abcdef0123456789abcdef"}
    write_json(tmp_path / "results.json", {**STUDY, "trials": [found], "best": found})
    best.show_best(tmp_path, None, None)
    lines = capsys.readouterr().out.splitlines()
    assert_whole(
        lines,
        max(width, len(f"folder: {tmp_path}/3")),
        "0.123457",
        "0123456789abcdef0123456789abcdef",
    )
    assert_params(lines, **{name: str(value) for name, value in PARAMS.items()})


def test_what_is_logged_beside_a_live_view(width: int) -> None:
    said = "trial 12 PRUNED: by the tuner  0.125 at step 7  " + "  ".join(
        f"{name}={value}" for name, value in SHOWN_PARAMS.items()
    )
    record = logging.LogRecord("explr.sweep", logging.INFO, "", 0, said, None, None)
    lines = WrappedFormatter(logging.Formatter("[%(asctime)s][explr] %(message)s")).format(record)
    assert_whole(lines.split("\n"), width, *said.split())
    record.name = "somebody.else"
    assert WrappedFormatter(logging.Formatter("%(message)s")).format(record) == said


def test_small_curves() -> None:
    assert sparkline([1.0, 2.0, 3.0, 8.0]) == "▁▂▃█"
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([0.0, math.nan, math.inf, 1.0]) == "▁  █"
    assert sparkline(range(1000), 5) == "▁▃▅▆█"
    assert sparkline([]) == ""
    curve = Curve()
    for value in range(10 * MOST_VALUES):
        curve.add(value)
    assert len(curve.values) <= MOST_VALUES
    assert curve.values[0] == 0
    assert curve.values == sorted(curve.values)
    assert curve.values[-1] > 9 * MOST_VALUES


def test_a_terminal_without_the_characters_of_curves_shows_none() -> None:
    training = TrainingProgress("val_loss", True, 9)
    training.reported(0, 0.5)
    for view in (swept(lr=0.1), training):
        console = Console(file=TextIOWrapper(BytesIO(), "ascii"), width=100, no_color=True)
        with console.capture() as captured:
            console.print(view)
        assert "best " in captured.get()
        assert captured.get().isascii()


def test_what_is_no_terminal_gets_whole_lines() -> None:
    line = "a  line\twith " + "many words " * 500
    assert (hanging(line), continued(line)) == (line, line)
