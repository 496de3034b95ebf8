"""LCBench's learning curves as YAHPO Gym's surrogate gives them: a training costs a millisecond.

34 tabular data sets, seven hyperparameters of a network, the validation error of 52 epochs and the
seconds that each takes. The folder with the surrogate is an argument; README.md says where to get
it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from simulation import Curve

EPOCHS = 52
"""Epochs of a whole training."""

TUNING = ("3945", "126026", "146212", "167104", "167152", "168330", "189354", "189862", "34539",
          "7593")  # fmt: skip
"""Tasks on which settings may be chosen; the figures that are told are those of all others."""

TRAININGS = 20
"""Whole trainings whose epochs a search may spend."""

REFERENCE = 800
"""Random trainings that define the scale of the regret of a task."""

_INPUTS = ("epoch", "batch_size", "learning_rate", "momentum", "weight_decay", "num_layers",
           "max_units", "max_dropout")  # fmt: skip
_SECONDS, _ACCURACY = 0, 1


class LCBench:
    """The surrogate.

    Args:
        folder: contains `model.onnx`, `encoding.json` and `config_space.json`.
    """

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._codes = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        space = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        self.tasks: list[str] = next(each["choices"] for each in space if "choices" in each)
        self.ranges = {each["name"]: _range(each) for each in space if each["name"] in _INPUTS[1:]}
        """The range of each hyperparameter in Hydra's grammar."""

    def curves(self, task: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Errors and seconds of whole trainings.

        Args:
            task: the task.
            rows: a row of hyperparameters for each, in the order of the surrogate's inputs.

        Returns:
            The error after each epoch, and when it ends; a row a training.
        """
        count = len(rows)
        inputs = np.empty((count, EPOCHS, len(_INPUTS)), dtype=np.float32)
        inputs[:, :, 0] = np.arange(1, EPOCHS + 1)
        inputs[:, :, 1:] = rows[:, None, :]
        inputs = inputs.reshape(count * EPOCHS, -1)
        codes = np.full((len(inputs), 1), self._codes[task], dtype=np.int32)
        (found,) = self._session.run(None, {"x_cat": codes, "x_cont": inputs})
        found = found.reshape(count, EPOCHS, -1).astype(float)
        ends = np.maximum.accumulate(found[:, :, _SECONDS], axis=1)
        return 100.0 - found[:, :, _ACCURACY], ends


class DataSet:
    """A task of LCBench; see `Task`.

    Args:
        bench: the surrogate.
        name: number of the data set at OpenML.
    """

    def __init__(self, bench: LCBench, name: str) -> None:
        self.name = name
        self.ranges = bench.ranges
        self.epochs, self.trainings = EPOCHS, TRAININGS
        self._bench = bench
        rng = np.random.default_rng(0)
        columns = [_drawn(text, REFERENCE, rng) for text in map(bench.ranges.get, _INPUTS[1:])]
        errors, ends = bench.curves(name, np.stack(columns, axis=1))
        best = errors.min(axis=1)
        self._best, self._median = float(best.min()), float(np.median(best))
        self.training_s = float(np.median(ends[:, -1]))

    def train(self, params: Mapping[str, Any]) -> Curve:
        """See `Task.train`."""
        row = np.array([[params[name] for name in _INPUTS[1:]]])
        errors, ends = self._bench.curves(self.name, row)
        return Curve(errors[0].tolist(), np.diff(ends[0], prepend=0.0).tolist())

    def regret(self, params: Mapping[str, Any], error: float) -> float:
        """See `Task.regret`: 0 is the best of 800 random trainings, 1 is their median."""
        return (error - self._best) / (self._median - self._best)


@cache
def task_of(folder: Path, name: str) -> DataSet:
    """A task by its number at OpenML, loaded once per process."""
    return DataSet(bench_of(folder), name)


@cache
def bench_of(folder: Path) -> LCBench:
    """The surrogate, loaded once per process."""
    return LCBench(folder)


def _range(declared: Mapping[str, Any]) -> str:
    text = f"interval({declared['lower']}, {declared['upper']})"
    if declared["type"] == "uniform_int":
        text = f"int({text})"
    return f"tag(log, {text})" if declared["log"] else text


def _drawn(text: str, count: int, rng: np.random.Generator) -> np.ndarray:
    from explr.tuning.search_space import parse

    found: Any = parse({"it": text})[0].distributions["it"]
    whole = isinstance(found.low, int)
    low, high = (found.low - 0.5, found.high + 0.5) if whole else (found.low, found.high)
    if found.log:
        values = np.exp(rng.uniform(np.log(low), np.log(high), count))
    else:
        values = rng.uniform(low, high, count)
    return np.clip(np.round(values), found.low, found.high) if whole else values
