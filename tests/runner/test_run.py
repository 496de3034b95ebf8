from __future__ import annotations

import json
import multiprocessing
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hydra_spelling import REGISTER
from omegaconf import OmegaConf

import explr
from explr import TrainingContext, TrainingResult, TrialPruned
from explr.core.errors import ConfigError, ResultError, TargetError, UsageError
from explr.runner.experiment import run_training
from explr.runner.prepare import prepare
from explr.runner.record import logged_values
from explr.runner.reporting import TRAINING_VARIABLE, listening, reporting_to
from explr.tracking.journal.journal import Journal, journals_in
from explr.tracking.journal.lines import read_events
from explr.tracking.run import TrackedRun
from explr.tracking.sweeps import Sweep, set_current_sweep
from explr.tuning.channel import ChannelServer
from explr.utils.environment import environment

OFF = ["tracking=off", "lr=3"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def answered(report: Callable[[int, int, float], bool], key: int = 7) -> Iterator[None]:
    """Have the trainings within the block be a job of a sweep that runs in this process."""
    with closing(ChannelServer(report)) as channel, reporting_to(channel, key):
        yield


def train(ctx: TrainingContext) -> float:
    return float(ctx.hyperparameters["lr"])


def test_twice_in_a_row(tmp_path: Path) -> None:
    cfg = explr.compose(OFF)
    for _ in range(2):
        assert explr.run(cfg, train) == TrainingResult(3.0)
    folders = [path.parent for path in tmp_path.glob("outputs/*/*/result.json")]
    assert len(folders) == 2


def test_in_a_thread() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(explr.run(explr.compose(OFF), train)))
    thread.start()
    thread.join()
    assert found == [TrainingResult(3.0)]


def test_a_bare_number_and_a_result_and_a_plain_mapping() -> None:
    def full(ctx: TrainingContext) -> TrainingResult:
        return TrainingResult(0.25, "f1", False, {"loss": 2}, "best.pt", 4)

    cfg = explr.compose([*OFF, "objective.metric=f1", "objective.direction=maximize"])
    expected = TrainingResult(0.25, "f1", False, {"loss": 2.0}, "best.pt", 4)
    assert explr.run(cfg, full) == expected
    assert explr.run({key: cfg[key] for key in cfg}, full) == expected


def test_a_plain_mapping_may_need_a_resolver_of_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "registers.py").write_text(
        "from omegaconf import OmegaConf\n\n"
        f"OmegaConf.{REGISTER}('thrice', lambda value: 3 * value)\n\n\n"
        "def train(ctx):\n    return ctx.hyperparameters['lr']\n"
    )
    config = explr.compose([*OFF, "framework=none", "train_model=registers:train"])
    settings: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    try:
        assert explr.run({**settings, "lr": "${thrice:2}"}).primary_metric == 6
    finally:
        OmegaConf.clear_resolver("thrice")
        sys.modules.pop("registers", None)


def test_what_earlier_attempts_and_helpers_have_logged_counts_for_none(tmp_path: Path) -> None:
    def write(*events: dict[str, Any]) -> None:
        journal = Journal.create(tmp_path)
        for number, event in enumerate(events):
            journal.write({"t": 1000 * len(journals_in(tmp_path)) + number, **event})
        journal.close()

    write({"k": "start", "after": None}, {"k": "metrics", "m": {"val_loss": 9.0}, "s": 0})
    assert logged_values(tmp_path, "val_loss") == [9.0]
    write({"k": "start", "after": None}, {"k": "metrics", "m": {"val_loss": 3.0}, "s": 0})
    write(
        {"k": "start", "after": "journal-2"},
        {"k": "metrics", "m": {"cost": 1.0}, "s": 1},
        {"k": "metrics", "m": {"val_loss": 2.0}, "s": 1},
    )
    assert logged_values(tmp_path, "val_loss") == [3.0, 2.0]


def test_what_the_training_is_given(tmp_path: Path) -> None:
    given: list[TrainingContext] = []

    def look(ctx: TrainingContext) -> float:
        given.append(ctx)
        return 1.0

    explr.run(explr.compose([*OFF, "seed=5", "experiment_name=mine", "gpu=cpu"]), look, "here")
    (ctx,) = given
    assert ctx.output_dir == tmp_path / "here"
    assert ctx.checkpoint_dir == str(tmp_path / "here" / "checkpoints")
    assert (ctx.seed, ctx.experiment_name, ctx.device) == (5, "mine", "cpu")
    assert ctx.config is not None
    assert ctx.config.gpu.device == "cpu"
    assert ctx.hyperparameters == {"lr": 3, "batch_size": 64, "width": 32, "epochs": 20}


def test_the_function_that_the_config_names(project: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(project)
    cfg = explr.compose([*OFF, "train_model=trainings:train"])
    assert explr.run(cfg).primary_metric == pytest.approx(2.99**2)


def test_every_way_to_report_reaches_the_tuner(tmp_path: Path) -> None:
    told: list[tuple[int, int, float]] = []

    def report(job: int, step: int, value: float) -> bool:
        told.append((job, step, value))
        return False

    def reporting(ctx: TrainingContext) -> float:
        explr.report(0, val_loss=2.0, other=1.0)
        ctx.report(1, val_loss=1.0)
        ctx.tracker.log_metric("val_loss", 0.5, step=2)
        ctx.tracker.log_metrics({"val_loss": 0.25, "other": 3.0}, step=3)
        ctx.tracker.log_metric("other", 9.0, step=4)
        return 1.0

    with answered(report):
        run_training(explr.compose(OFF), tmp_path, train_model=reporting)
    assert told == [(7, 0, 2.0), (7, 1, 1.0), (7, 2, 0.5), (7, 3, 0.25)]


@pytest.mark.parametrize(
    "way",
    [
        lambda ctx, step: explr.report(step, val_loss=1.0),
        lambda ctx, step: ctx.report(step, val_loss=1.0),
        lambda ctx, step: ctx.tracker.log_metric("val_loss", 1.0, step=step),
    ],
    ids=["explr.report", "ctx.report", "log_metric"],
)
def test_a_training_that_does_not_ask_is_pruned_all_the_same(tmp_path: Path, way: Any) -> None:
    steps: list[int] = []

    def training(ctx: TrainingContext) -> float:
        for step in range(10):
            way(ctx, step)
            steps.append(step)
        return 1.0

    with answered(lambda job, step, value: step >= 3):
        outcome = run_training(explr.compose(OFF), tmp_path, train_model=training)
    assert outcome.result is None
    assert steps in ([0, 1, 2], [0, 1, 2, 3])  # `ctx.report` leaves a step to ask in


def test_a_listener_hears_each_report_once_it_is_answered(tmp_path: Path) -> None:
    events: list[str] = []

    def answer(job: int, step: int, value: float) -> bool:
        events.append(f"answer {step}")
        return step == 1

    def training(ctx: TrainingContext) -> float:
        explr.report(0, val_loss=2.0, other=1.0)
        ctx.tracker.log_metric("val_loss", 1.0, step=1)
        raise AssertionError

    with answered(answer), listening(lambda step, value: events.append(f"{step}: {value}")):
        finished = run_training(explr.compose(OFF), tmp_path, train_model=training)
    assert finished.result is None
    assert events == ["answer 0", "0: 2.0", "answer 1", "1: 1.0"]


def test_a_listener_that_fails_does_not_reach_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def training(ctx: TrainingContext) -> float:
        for step in range(3):
            ctx.report(step, val_loss=1.0)
            assert not ctx.should_prune
        return 1.0

    with listening(lambda step, value: 1 / 0):
        finished = run_training(explr.compose(OFF), tmp_path, train_model=training)
    assert finished.values == (1.0,)
    assert caplog.text.count("ZeroDivisionError") == 1


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (2.5, "step must be a whole number, got float 2.5: count the epochs or batches"),
        ("3", "step must be a whole number, got str '3'"),
        (None, "step must be a whole number, got NoneType None"),
        (-1, "step must be 0 or more, got -1: count from 0"),
    ],
)
def test_one_rule_for_steps(
    tmp_path: Path, step: Any, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    def training(ctx: TrainingContext) -> float:
        ctx.report(step, val_loss=1.0, step=3)
        explr.report(step, val_loss=1.0)
        if step is not None:  # without a step, the tracker counts
            ctx.tracker.log_metric("val_loss", 1.0, step=step)
        return 1.0

    told: list[int] = []
    with answered(lambda job, step, value: bool(told.append(step))):
        run_training(explr.compose(OFF), tmp_path, train_model=training)
        about_the_objective = [text for text in caplog.messages if "the tuner gets" in text]
        caplog.clear()
        explr.report(step, loss=1.0)  # another app's job
    assert told == []
    for messages in (about_the_objective, caplog.messages):
        (message,) = messages
        assert message.startswith("the tuner gets no report of the objective at step ")
        assert what in message


def test_a_step_that_comes_twice_outside_a_sweep(caplog: pytest.LogCaptureFixture) -> None:
    def folds(ctx: TrainingContext) -> float:
        for fold in range(ctx.hyperparameters["folds"]):
            for epoch in range(4):
                value = fold + ctx.hyperparameters["lr"] / (epoch + 1)
                ctx.report(epoch, val_loss=value)
                ctx.tracker.log_metric("val_loss", value, epoch)  # the same value once more
        return 1.0

    for lr in (1, 2):  # no training is taken for a second fold of the one before
        explr.run(explr.compose(["tracking=off", f"lr={lr}", "+folds=1"]), folds)
    assert caplog.records == []
    explr.run(explr.compose(["tracking=off", "lr=1", "+folds=3"]), folds)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the training has reported step 0 twice, with 1 and 2: only the first value"
    )


def in_helper(ctx: TrainingContext | None, step: int) -> None:
    """A process that a training starts; without a context it has only its environment."""
    if ctx is None:
        explr.report(step, other=9.0, val_loss=step / 4)
    else:
        ctx.report(step, other=9.0, val_loss=step / 4)


@pytest.mark.parametrize(
    ("within", "start"),
    [
        ("the controller", "fork"),
        ("a trial process", "fork"),
        ("no sweep", "fork"),
        pytest.param("the controller", "spawn", marks=pytest.mark.slow),
    ],
)
def test_threads_and_processes_of_a_training_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, within: str, start: Any
) -> None:
    monkeypatch.setattr(TrackedRun, "keep_shipping", lambda run: None)
    told: list[tuple[int, int, float]] = []

    def training(ctx: TrainingContext) -> float:
        ctx.report(0, val_loss=0.0)
        process = multiprocessing.get_context(start).Process
        helpers: list[Any] = [
            process(target=in_helper, args=(ctx, 1)),
            process(target=in_helper, args=(None, 2)),
            *(threading.Thread(target=in_helper, args=(ctx, step)) for step in range(3, 9)),
        ]
        for helper in helpers:
            helper.start()
        for helper in helpers:
            helper.join()
        ctx.report(9, val_loss=9 / 4)
        return 1.0

    def report(job: int, step: int, value: float) -> bool:
        told.append((job, step, value))
        return False

    cfg = explr.compose(["lr=3"])
    with closing(ChannelServer(report)) as channel:
        if within == "no sweep":
            run_training(cfg, tmp_path, train_model=training)
        elif within == "the controller":
            with reporting_to(channel, 7):
                run_training(cfg, tmp_path, train_model=training)
        else:
            with environment(channel.variable(7)):
                run_training(cfg, tmp_path, train_model=training)
    expected = [] if within == "no sweep" else [(7, step, step / 4) for step in range(10)]
    assert sorted(told) == expected
    (journal,) = journals_in(tmp_path)
    rows = [e for e, _ in read_events(journal) if e["k"] == "metrics" and "val_loss" in e["m"]]
    assert sorted(row["s"] for row in rows) == list(range(10))
    assert sum(row["m"].get("other") == 9.0 for row in rows) == 8


def test_a_job_of_a_sweep_that_a_training_started_is_no_helper_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int, float]] = []

    def report(job: int, step: int, value: float) -> bool:
        told.append((job, step, value))
        return False

    monkeypatch.setenv(
        TRAINING_VARIABLE, json.dumps({"journal": None, "objective": "x", "channel": None})
    )
    with answered(report):
        explr.report(0, loss=0.5)
    assert told == [(7, 0, 0.5)]


def test_reports_outside_a_sweep_are_for_nobody() -> None:
    explr.report(0, loss=2.0)
    with pytest.raises(UsageError, match="needs a metric"):
        explr.report(0)


def test_a_pruned_training(tmp_path: Path) -> None:
    def pruning(ctx: TrainingContext) -> float:
        raise TrialPruned("hopeless")

    with pytest.raises(TrialPruned):
        explr.run(explr.compose(OFF), pruning, "out")
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (content["state"], content["reason"], content["value"]) == (
        "PRUNED", "by the training itself: hopeless", None,
    )  # fmt: skip


def test_the_last_attempt_at_a_trial_says_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller may be killed before it hears of an end; then the trial has one more."""
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path))
    sweep = Journal.create(tmp_path)
    set_current_sweep(Sweep(sweep.path, socket.gethostname(), keeps_folders=True))
    ends = iter([TrialPruned(), ZeroDivisionError(), None])

    def training(ctx: TrainingContext) -> float:
        if (end := next(ends)) is not None:
            raise end
        return 1.0

    try:
        for failure in (nullcontext(), pytest.raises(ZeroDivisionError), nullcontext()):
            with failure:  # type: ignore[attr-defined]
                run_training(explr.compose(["lr=3"]), tmp_path / "0", train_model=training)
    finally:
        set_current_sweep(None)
        sweep.close()
    journals = journals_in(tmp_path / "0")
    events = [event for journal in journals for event, _ in read_events(journal)]
    tags = [event["g"] for event in events if event["k"] == "tags"]
    assert tags == [{"explr.state": state} for state in ("PRUNED", "FAIL", "COMPLETE")]


def test_a_failing_training_raises_its_own_error(tmp_path: Path) -> None:
    def failing(ctx: TrainingContext) -> float:
        raise ZeroDivisionError("no luck")

    with pytest.raises(ZeroDivisionError, match="no luck"):
        explr.run(explr.compose(OFF), failing, "out")
    content = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (content["state"], content["reason"]) == ("FAIL", "ZeroDivisionError: no luck")


@pytest.mark.parametrize(
    ("overrides", "function", "error", "words"),
    [
        ([], lambda: 1.0, TargetError, r"callable as train_model\(ctx\)"),
        ([], 3, TargetError, "of type int"),
        ([], lambda ctx: None, ResultError, "train_model returned None"),
        (["gpu.device=cuda:99"], lambda: 1.0, ConfigError, r"(?s)callable as.*it has cpu"),
        (["train_model=nowhere:f"], None, TargetError, "no module nowhere"),
    ],
)
def test_faults(overrides: list[str], function: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        explr.run(explr.compose([*OFF, *overrides]), function)


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"the output folder .*file/out cannot be written: Not a"):
        explr.run(explr.compose(OFF), train, "file/out")


def test_checkpoints_lie_in_the_run_s_folder(tmp_path: Path) -> None:
    def saving(ctx: TrainingContext) -> float:
        assert ctx.load_checkpoint() is None
        ctx.save_checkpoint({"epoch": 3}, 3)
        assert ctx.load_checkpoint() == (3, {"epoch": 3})
        return 1.0

    explr.run(explr.compose([*OFF, "gpu=cpu"]), saving, "out")
    assert (tmp_path / "out" / "checkpoints" / "step-000000003.pkl").is_file()


def test_a_run_is_recorded_with_the_function_it_was_given() -> None:
    cfg = explr.compose(OFF)
    assert prepare(cfg, train).train_model_name == f"{__name__}:train"
    named = explr.compose([*OFF, "train_model=os.path:basename"])
    assert prepare(named).train_model_name == "os.path:basename"
