"""Which hyperparameters are recorded: those that a training has."""

from __future__ import annotations

import copy
import json
import pickle
import socket
import traceback
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import explr
from explr import TrainingContext
from explr.core.config import ROOT_KEYS
from explr.core.protocols import Hyperparameters
from explr.runner.experiment import run_training
from explr.runner.hyperparameters import WatchedHyperparameters
from explr.tracking.journal.journal import Journal, journals_in, read_events
from explr.tracking.null import NullTracker
from explr.tracking.sweeps import Sweep, set_current_sweep

DEFAULTS = {"lr": 1e-3, "batch_size": 64, "width": 32, "epochs": 20}
NOT_RECORDED = {"device", *ROOT_KEYS}


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Trains in a sweep, whose uploads are another process's; gives the recorded events."""
    monkeypatch.setenv("EXPLR_HOME", str(tmp_path))
    sweep = Journal.create(tmp_path)
    set_current_sweep(Sweep(sweep.path, socket.gethostname(), keeps_folders=False))

    def train(
        training: Callable[[TrainingContext], object], *given: str, known: bool = True
    ) -> list[dict[str, str]]:
        def train_model(ctx: TrainingContext) -> float:
            training(ctx)
            return 1.0

        overrides = given if known else ()
        run_training(
            explr.compose(list(given)), tmp_path / "0", train_model=train_model, overrides=overrides
        )
        (journal,) = journals_in(tmp_path / "0")
        events = [event["p"] for event, _ in read_events(journal) if event["k"] == "params"]
        return [
            {name: text for name, text in event.items() if name.split(".")[0] not in NOT_RECORDED}
            for event in events
        ]

    yield train
    set_current_sweep(None)
    sweep.close()


def test_a_training_has_what_it_was_given_and_what_it_reads(
    recorded: Callable[..., Any], tmp_path: Path
) -> None:
    def training(ctx: TrainingContext) -> None:
        assert ctx.hyperparameters == DEFAULTS | {"depth": 3, "lr": 0.5}
        assert ctx.hyperparameters["depth"] == 3
        assert ctx.hyperparameters["epochs"] == ctx.hyperparameters["epochs"] == 20
        assert ctx.config is not None
        assert ctx.config.hyperparameters.get("batch_size") == 64

    assert recorded(training, "+depth=3", "lr=0.5") == [
        {"depth": "3", "lr": "0.5"}, {"epochs": "20"}, {"batch_size": "64"},
    ]  # fmt: skip
    content = json.loads((tmp_path / "0" / "result.json").read_text())
    assert content["params"] == DEFAULTS | {"depth": 3, "lr": 0.5}  # to train again with


@pytest.mark.parametrize(
    ("given", "known", "names"),
    [
        ([], True, set()),
        (["lr=1e-3"], True, {"lr"}),  # a sweep samples the default, too
        (["lr=1e-3"], False, set()),
        (["lr=0.5", "epochs=1"], False, {"lr", "epochs"}),
        (["search_space=digits"], True, DEFAULTS.keys()),
        (["experiment=quick"], True, {"epochs", "width"}),
    ],
)
def test_only_untouched_defaults_are_recorded_when_they_are_read(
    recorded: Callable[..., Any], given: list[str], known: bool, names: set[str]
) -> None:
    (at_start,) = recorded(lambda ctx: None, *given, known=known)
    assert at_start.keys() == names


def test_what_is_read_after_the_end_is_not_recorded(recorded: Callable[..., Any]) -> None:
    kept: list[dict[str, Any]] = []
    assert recorded(lambda ctx: kept.append(ctx.hyperparameters)) == [{}]
    assert kept[0]["lr"] == 1e-3


ALL = [["a", "b"]]
AB = Hyperparameters({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("use", "told", "result"),
    [
        (lambda h: h["a"], [["a"]], 1),
        (lambda h: (h.get("b"), h.get("b", 3)), [["b"]], (2, 2)),
        (lambda h: (h.pop("a"), h.pop("a", 5)), [["a"]], (1, 5)),
        (lambda h: h.setdefault("a", 7), [["a"]], 1),
        (lambda h: "{a}".format_map(h), [["a"]], "1"),
        (dict, ALL, {"a": 1, "b": 2}),
        (lambda h: Namespace(**h), ALL, Namespace(a=1, b=2)),
        (lambda h: {**h}, ALL, {"a": 1, "b": 2}),
        (lambda h: h | {"c": 3}, ALL, Hyperparameters({"a": 1, "b": 2, "c": 3})),
        (lambda h: {"c": 3} | h, ALL, Hyperparameters({"a": 1, "b": 2, "c": 3})),
        (lambda h: list(h.values()), ALL, [1, 2]),
        (lambda h: list(h.items()), ALL, [("a", 1), ("b", 2)]),
        (lambda h: list(h), ALL, ["a", "b"]),
        (json.dumps, ALL, '{"a": 1, "b": 2}'),
        (lambda h: h.copy(), ALL, AB),
        (copy.copy, ALL, AB),
        (copy.deepcopy, ALL, AB),
        (lambda h: pickle.loads(pickle.dumps(h)), ALL, AB),
        (lambda h: pickle.loads(pickle.dumps(h, 2)), ALL, OrderedDict(a=1, b=2)),
        (lambda h: h.a, [["a"]], 1),
        (lambda h: getattr(h, "c", 3), [], 3),
        (lambda h: ("a" in h, len(h), repr(h)), [], (True, 2, "{'a': 1, 'b': 2}")),
        (lambda h: (h == {"a": 1, "b": 2}, isinstance(h, dict)), [], (True, True)),
    ],
)
def test_a_dict_that_tells_of_reads(use: Any, told: list[list[str]], result: Any) -> None:
    heard: list[list[str]] = []
    watched = WatchedHyperparameters.watched({"a": 1, "b": 2}, ["a", "b"], heard.append)  # type: ignore[arg-type]
    got = use(watched)
    assert (got, heard) == (result, told)
    assert type(got) is type(result)


def test_items_are_attributes() -> None:
    hp = Hyperparameters({"lr": 0.1, "items": 3, "opt": {"beta": 0.9}})
    assert (hp.lr, hp.opt.beta, hp["items"]) == (0.1, 0.9, 3)
    assert isinstance(hp, dict)
    assert {"lr", "opt"} <= set(dir(hp))
    assert list(hp.items()) == [("lr", 0.1), ("items", 3), ("opt", {"beta": 0.9})]
    hp.lr = 0.2
    assert hp["lr"] == hp.lr == 0.2
    again = pickle.loads(pickle.dumps(hp))
    assert (again, again.opt.beta) == (hp, 0.9)
    del hp.lr
    assert "lr" not in hp


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda hp: hp.learning_rat, "no hyperparameter learning_rat: did you mean learning_rate?"),
        (lambda hp: hp.momentum, "no hyperparameter momentum: there are learning_rate, width"),
        (
            lambda hp: setattr(hp, "items", 3),
            r"items is a method of a dict: write hp\['items'\] = …",
        ),
        (lambda hp: delattr(hp, "depth"), "there is no hyperparameter depth"),
    ],
)
def test_a_wrong_attribute_is_told_in_one_sentence(use: Any, said: str) -> None:
    with pytest.raises(AttributeError, match=said) as raised:
        use(Hyperparameters({"learning_rate": 0.1, "width": 3}))
    told = "".join(traceback.format_exception(raised.value)).splitlines()[-1]
    assert told == f"AttributeError: {raised.value}"  # Python adds no suggestion of its own


def test_a_context_takes_any_mapping() -> None:
    ctx = TrainingContext({"lr": 0.1}, tracker=NullTracker(), trial_id="0")
    assert ctx.hyperparameters.lr == 0.1


def test_a_file_of_torch_s_has_them(tmp_path: Path) -> None:
    import torch

    torch.save({"hp": Hyperparameters({"lr": 0.1, "opt": {"beta": 0.9}})}, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=True)
    assert loaded == {"hp": {"lr": 0.1, "opt": {"beta": 0.9}}}
    assert "explr" not in type(loaded["hp"]).__module__
