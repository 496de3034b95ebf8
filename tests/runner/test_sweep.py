from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

OFF = "tracking=off"
TRAIN = "train_model=trainings:train"


def states(folder: Path) -> list[str]:
    files = sorted(folder.glob("*/result.json"), key=lambda path: int(path.parent.name))
    return [json.loads(file.read_text())["state"] for file in files]


def printed(folder: Path) -> str:
    """What the trials of a sweep printed, each into its own folder."""
    return "".join(file.read_text() for file in folder.glob("*/output.log"))


@pytest.mark.slow
def test_hydra_s_own_grid(explr, project: Path) -> None:
    done = explr(OFF, TRAIN, "-m", "lr=1,2", "width=3,4", "hydra.sweep.dir=out")
    assert (done.returncode, done.stderr) == (0, "")
    pairs = re.findall(r"'lr': (\d), .*'width': (\d)", done.stdout)
    assert pairs == [("1", "3"), ("1", "4"), ("2", "3"), ("2", "4")]
    told = re.findall(r"^Result: val_loss [\d.]+ in [\d.]+ s  (.*)$", done.stdout, re.MULTILINE)
    assert told == [f"trial {i}  lr={lr}  width={width}" for i, (lr, width) in enumerate(pairs)]
    assert done.stdout.endswith("Trials: 4 complete\nFolder: out\n")
    lines = [line.split() for line in done.stdout.splitlines()]
    head = lines.index(["trial", "val_loss", "duration", "folder", "lr", "width"])
    assert [row[0] for row in lines[head + 1 : head + 5]] == ["0", "1", "2", "3"]
    assert lines[head + 1][-3:] == ["out/0", "1", "3"]
    assert "\nbest: trial 0 with 0.9801: lr=1 width=3\n" in done.stdout
    elsewhere = explr(
        OFF, TRAIN, "-m", "lr=2,1", "hydra/launcher=explr_local", "hydra.sweep.dir=out2"
    )
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")
    assert re.findall("trial .  lr=.$", elsewhere.stdout, re.MULTILINE) == [
        "trial 0  lr=2",
        "trial 1  lr=1",
    ]
    assert elsewhere.stdout.endswith("\nbest: trial 1 with 0.9801: lr=1\nFolder: out2\n")
    assert states(project / "out") == ["COMPLETE"] * 4


@pytest.mark.slow
def test_optuna_to_the_letter(explr, project: Path) -> None:
    done = explr(
        OFF, TRAIN, "framework=pytorch", "tuner=optuna", "-m", "lr=interval(1e-5,1e-2)",
        "hydra.sweep.dir=out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert states(project / "out") == ["COMPLETE"] * 20
    rates = [float(rate) for rate in re.findall(r"'lr': (\S+),", printed(project / "out"))]
    assert len(set(rates)) == 20
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    best = yaml.safe_load((project / "out" / "optimization_results.yaml").read_text())
    values = [
        json.loads(file.read_text())["value"] for file in (project / "out").glob("*/result.json")
    ]
    assert best["best_value"] == min(values)


@pytest.mark.slow
def test_a_search_space_brings_ranges_and_the_line_wins(explr, project: Path) -> None:
    done = explr(
        OFF, TRAIN, "tuner=optuna", "tuner.n_trials=4", "search_space=digits", "-m", "lr=0.5",
        "batch_size=choice(7,9)", "hydra.sweep.dir=out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = printed(project / "out")
    found = re.findall(r"'lr': (\S+), 'batch_size': (\d+), 'width': (\d+)", text)
    assert len(found) == 4
    assert {lr for lr, _, _ in found} == {"0.5"}
    assert {batch for _, batch, _ in found} <= {"7", "9"}
    assert {width for _, _, width in found} <= {"16", "32", "64"}


def test_ranges_do_not_disturb_a_single_run(explr, project: Path) -> None:
    done = explr(OFF, TRAIN, "search_space=digits")
    assert "'lr': 0.001, 'batch_size': 64, 'width': 32" in done.stdout


@pytest.mark.slow
def test_if_every_trial_of_a_tuner_fails(explr, project: Path) -> None:
    done = explr(
        OFF, "train_model=trainings:boom", "tuner=optuna", "tuner.n_trials=3", "-m", "lr=choice(7)",
        "hydra.sweep.dir=out",
    )  # fmt: skip
    assert done.returncode == 1
    assert states(project / "out") == ["FAIL"] * 3
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-2:] == ["ValueError: no luck with 7", "every trial failed, the first with this"]
    assert "hydra" not in done.stderr
    assert "3 trials: 3 fail" in done.stdout
    for number in range(3):
        text = (project / "out" / str(number) / "traceback.txt").read_text()
        assert "in boom" in text


@pytest.mark.slow
def test_if_every_trial_of_a_grid_fails(explr, project: Path) -> None:
    values = "lr=7,7,7"
    done = explr(OFF, "train_model=trainings:boom", "-m", values, "hydra.sweep.dir=out")
    assert done.returncode == 1
    assert states(project / "out") == ["FAIL"] * 3
    assert done.stderr.count("Traceback") == 1
    assert "site-packages/hydra" not in done.stderr
    assert "Error executing job" not in done.stderr
    assert "Failed" not in done.stdout
    _, told, errors = done.stderr.partition("Trial 0 failed:\n")
    assert told
    lines = errors.splitlines()
    assert lines[-3:] == [
        "ValueError: no luck with 7",
        "Trial 1 failed: ValueError: no luck with 7 (like trial 0)",
        "Trial 2 failed: ValueError: no luck with 7 (like trial 0)",
    ]
    assert "Trials: 3 failed" in done.stdout
    for number in range(3):
        log = (project / "out" / str(number) / "explr.log").read_text()
        assert "in boom" in log
        assert log.count("no luck with 7") == 1


@pytest.mark.parametrize(
    ("tuner", "code"),
    [
        ((), 1),
        pytest.param(("tuner=optuna", "tuner/sampler=random"), 0, marks=pytest.mark.slow),
    ],
)
def test_if_some_trials_fail(explr, project: Path, tuner: tuple[str, ...], code: int) -> None:
    done = explr(
        OFF, "train_model=trainings:boom_above_one", *tuner, "-m", "lr=choice(0.5,2)",
        "hydra.sweep.dir=out", *(["tuner.n_trials=8"] if tuner else []),
    )  # fmt: skip
    assert done.returncode == code, done
    assert {"COMPLETE", "FAIL"} == set(states(project / "out"))
    counts = r"Trials: \d complete, \d failed|8 trials: \d (complete|fail), \d (complete|fail)"
    assert re.search(counts, done.stdout)


@pytest.mark.parametrize(
    "tuner", [(), pytest.param(("tuner=optuna", "tuner.n_trials=2"), marks=pytest.mark.slow)]
)
def test_if_every_trial_prunes_itself(explr, project: Path, tuner: tuple[str, ...]) -> None:
    done = explr(
        OFF, "train_model=trainings:prune", *tuner, "-m", "lr=choice(1,2)", "hydra.sweep.dir=out"
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert states(project / "out") == ["PRUNED"] * 2
    assert re.search("Trials: 2 pruned|2 trials: 2 pruned", done.stdout)


@pytest.mark.slow
def test_results_that_are_none(explr, project: Path) -> None:
    done = explr(OFF, "train_model=trainings:returned_none", "-m", "lr=1,2")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Trial 0 failed: train_model returned None and reported no val_loss: return a "
        "TrainingResult, or val_loss as a number, or report it with ctx.report",
        "Trial 1 failed: train_model returned None and reported no val_loss: return a "
        "TrainingResult, or val_loss as a number, or report it with ctx.report (like trial 0)",
    ]


@pytest.mark.slow
def test_hydra_s_mode_is_another_way_to_ask(explr, project: Path) -> None:
    done = explr(OFF, "train_model=trainings:boom_above_one", "lr=1,2", "hydra.mode=MULTIRUN")
    assert done.returncode == 1
    assert "Trials: 1 complete, 1 failed" in done.stdout
    assert "Error executing job" not in done.stderr


@pytest.mark.slow
def test_values_that_only_a_trial_knows(explr, project: Path) -> None:
    done = explr(OFF, TRAIN, "-m", "lr=1,2", "+name=trial-${hydra:job.num}", "width=${lr}")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"'width': (\d), .*'name': '(\S+)'", done.stdout) == [
        ("1", "trial-0"), ("2", "trial-1"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_required_value_that_is_swept(explr, project: Path) -> None:
    (project / "conf" / "search_space").mkdir(parents=True)
    (project / "conf" / "search_space" / "mine.yaml").write_text(
        "# @package _global_\nlr: ???\nsearch_space: {lr: 'interval(1,2)'}\n"
    )
    done = explr(OFF, TRAIN, "search_space=mine", "-m", "lr=1,2")
    assert (done.returncode, done.stderr) == (0, "")
    tuner = ("tuner=optuna", "tuner.n_trials=1", "hydra/launcher=basic")
    done = explr(OFF, TRAIN, "search_space=mine", *tuner, "-m")
    assert done.returncode == 0
    done = explr(OFF, TRAIN, "search_space=mine")
    assert (done.returncode, done.stderr) == (2, "lr has no value: set it with lr=…\n")
