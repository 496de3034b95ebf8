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
