from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import explr

pytestmark = [
    pytest.mark.slow,
    # Keras 3 itself, when it saves a model with numpy 2.4
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]


def test_a_pruned_trial_ends_as_keras_ends_one(sweep: Callable[..., Any]) -> None:
    import keras

    from explr.integrations.keras import ExplrCallback

    ends = []

    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        x = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
        target = 2 * x if ctx.hyperparameters["quality"] else 1000 * x
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), loss="mse")
        witness = keras.callbacks.LambdaCallback(on_train_end=lambda logs: ends.append(1))
        callback = ExplrCallback(ctx)
        model.fit(
            x,
            target,
            epochs=3,
            validation_data=(x, target),
            callbacks=[witness, callback],
            verbose=0,
        )
        return callback.result()

    good, bad = sweep(train, "framework=tensorflow")
    assert (good["state"], good["steps"]) == ("COMPLETE", 3)
    assert (bad["state"], bad["steps"]) == ("PRUNED", 1)
    assert ends == [1, 1]


def test_what_keras_and_tensorflow_log(run_once: Callable[..., Any]) -> None:
    import keras
    import tensorflow as tf

    from explr.integrations.keras import ExplrCallback

    def train(ctx: explr.TrainingContext) -> explr.TrainingResult:
        x, target = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
        f1 = keras.metrics.F1Score()
        model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy", metrics=[f1])
        callback = ExplrCallback(ctx)
        model.fit(x, target, epochs=2, validation_data=(x, target), callbacks=[callback], verbose=0)
        ctx.report(
            2,
            constant=tf.constant(0.5),
            variable=tf.Variable([[0.5]]),
            short=tf.constant(0.5, tf.bfloat16),
            weights=keras.Variable([0.5, 0.25]),
            truth=tf.constant(True),
            text=tf.constant("0.5"),
            symbol=keras.Input(()),
        )
        return callback.result()

    result, rows = run_once(train, "framework=tensorflow")
    for name in ("train_f1_score", "val_f1_score"):
        assert [sorted(rows.of(f"{name}/{label}")) for label in range(3)] == [[0, 1]] * 3
    assert {f"val_f1_score/{label}" for label in range(3)} <= set(result.metrics)
    assert rows.rows[-1] == (2, {
        "constant": 0.5, "variable": 0.5, "short": 0.5, "weights/0": 0.5, "weights/1": 0.25,
        "truth": 1.0,
    })  # fmt: skip
