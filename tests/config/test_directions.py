"""The direction of an objective: given, or as the well-known name of its metric has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import explr
from explr.config.compose import compose_with, hydra_app
from explr.core.config import ExplrConfig, ObjectiveConfig, SweeperConfig
from explr.core.errors import ConfigError
from explr.core.validation import LOSSES, MAXIMIZED, MINIMIZED, UNCLEAR, known_direction
from explr.results.grid import read_grid
from explr.runner.cli.resume import kept_direction
from explr.runner.prepare import prepare
from explr.runner.record import _recorded_params
from explr.tracking.callback import _params as params_of_sweep

OFF = ["tracking=off", "framework=none"]

MORE = """val_acc val/accuracy test_f1 F1Score mAP50-95 mIoU roc_auc eval_accuracy acc1 acc@5
hits@10 R2 ndcg@10 ep_rew_mean mean_reward rougeL bleu4 log_likelihood neg_mean_squared_error
neg_log_loss top5-accuracy validation.recall""".split()  # noqa: SIM905 - easier to read

LESS = """val_loss loss valLoss loss_fold1 RMSE mae ppl perplexity word_error_rate top1_err
dice_loss reward_loss nll negative_log_likelihood brier_score val/cross_entropy latency""".split()  # noqa: SIM905 - likewise

NEITHER = """score my_metric objective 1-acc one_minus_auc accuracy_drop generalization_gap loss_std
tpr_at_fpr negative_recall accuracy_per_cost x""".split()  # noqa: SIM905 - likewise


def test_names() -> None:
    assert {known_direction(name) for name in MORE} == {"maximize"}, MORE
    assert {known_direction(name) for name in LESS} == {"minimize"}, LESS
    assert {known_direction(name) for name in NEITHER} == {None}, NEITHER


def test_each_word_alone_says_its_direction() -> None:
    assert {known_direction(word) for word in MAXIMIZED} == {"maximize"}
    assert {known_direction(word) for word in MINIMIZED} == {"minimize"}
    assert set(MINIMIZED) >= LOSSES
    assert not set(UNCLEAR) & {*MAXIMIZED, *MINIMIZED}
    assert not set(MAXIMIZED) & set(MINIMIZED)


@pytest.mark.parametrize(
    ("metric", "direction", "directions"),
    [
        ("val_loss", None, ["minimize"]),
        ("val_acc", None, ["maximize"]),
        ("val_acc", "minimize", ["minimize"]),
        ("score", "maximize", ["maximize"]),
        (["val_loss", "f1"], None, ["minimize", "maximize"]),
        (["val_loss", "f1"], ["minimize", "minimize"], ["minimize", "minimize"]),
        (None, None, ["minimize"]),  # of another app, which names no metric
    ],
)
def test_directions(metric: object, direction: object, directions: list[str]) -> None:
    given = ObjectiveConfig(metric, direction)
    assert given.directions == directions
    assert given.minimize == (directions[0] == "minimize")
    assert given.settled == (directions if len(directions) > 1 else directions[0])


def test_what_follows_from_a_chosen_name_is_said() -> None:
    said = ObjectiveConfig("val_acc").inference()
    assert said.startswith("val_acc is maximized, as the name says; objective.direction=…")
    both = ObjectiveConfig(["rmse", "acc"]).inference()
    assert both.startswith("rmse is minimized and acc is maximized")
    for silent in (ObjectiveConfig(), ObjectiveConfig("acc", "maximize"), SweeperConfig()):
        assert silent.inference() == ""


def test_an_unknown_name_needs_a_direction() -> None:
    with pytest.raises(
        ConfigError, match=r"objective\.metric=score: the name does not tell"
    ) as told:
        ExplrConfig.from_composed(explr.compose([*OFF, "objective.metric=score", "seed=x"]))
    assert len(told.value.faults) == 2
    with pytest.raises(ConfigError, match=r"hydra\.sweeper\.metric=score"):
        _ = SweeperConfig(metric="score").directions


def test_the_context_and_the_result_have_it(tmp_path: Path) -> None:
    seen = []

    def train(ctx: explr.TrainingContext) -> float:
        seen.append(ctx.config.objective.direction if ctx.config else None)
        return 0.9

    cfg = explr.compose([*OFF, "objective.metric=val_acc"])
    result = explr.run(cfg, train, tmp_path)
    assert seen == ["maximize"]
    assert not result.minimize
    assert json.loads((tmp_path / "result.json").read_text())["result"]["minimize"] is False


@pytest.mark.slow
def test_a_sweep_names_the_highest_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = [*OFF, "objective.metric=val_acc", "hydra/launcher=basic", "lr=0.1,0.3,0.2"]
    result = explr.tune([*line, "tuner/sampler=grid"], lambda ctx: ctx.hyperparameters["lr"])
    assert result.best is not None
    assert result.best["value"] == 0.3
    assert result.folder is not None
    written = json.loads((result.folder / "results.json").read_text())
    assert written["direction"] == "maximize"
    assert written["best"]["value"] == 0.3
    assert "val_acc is maximized, as the name says" in capsys.readouterr().out


def test_a_grid_of_another_app_follows_its_metric(tmp_path: Path) -> None:
    job = {"number": 0, "state": "COMPLETE", "params": {}, "value": 0.5, "sweep": "..",
           "reason": "", "duration_s": 1.0, "command": None, "overrides": []}  # fmt: skip
    OmegaConf.save({"hydra": {"sweeper": {"metric": "acc"}}}, tmp_path / "multirun.yaml")
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "explr.json").write_text(json.dumps(job))
    grid = read_grid(tmp_path)
    assert grid is not None
    assert grid.directions == ["maximize"]


def test_mlflow_gets_it() -> None:
    line = [
        *OFF,
        "objective.metric=val_acc",
        "train_model=explr.examples.numpy_example:train_model",
    ]
    with hydra_app() as app:
        config = compose_with(app, line, None, multirun=False)
    assert params_of_sweep(config)["objective"]["direction"] == "maximize"
    recorded = _recorded_params(prepare(config), frozenset())
    assert recorded["objective"] == {
        "metric": "val_acc",
        "direction": "maximize",
        "reported": "last",
        "constraints": None,
    }


@pytest.mark.parametrize(
    ("metric", "direction", "words", "kept"),
    [
        ("val_acc", "minimize", [], ["objective.direction=minimize"]),  # of an older explr
        ("score", "minimize", [], ["objective.direction=minimize"]),
        (["f1", "x"], ["maximize", "minimize"], [], ["objective.direction=[maximize,minimize]"]),
        ("val_loss", "minimize", [], []),
        ("val_acc", None, [], []),
        ("score", "maximize", ["objective.direction=maximize"], []),
    ],
)
def test_a_resumed_sweep_keeps_the_direction_that_it_began_with(
    tmp_path: Path, metric: object, direction: object, words: list[str], kept: list[str]
) -> None:
    choices = {"choices": {"explr/schema@objective": "objective"}}
    saved = {"objective": {"metric": metric, "direction": direction}, "hydra": {"runtime": choices}}
    OmegaConf.save(saved, tmp_path / "multirun.yaml")
    assert list(kept_direction(tmp_path, words)) == kept
