"""Where your own training with TensorFlow starts: `python tensorflow_skeleton.py lr=0.1`."""

import keras
import numpy as np

import explr
from explr import TrainingContext, TrainingResult


def train_model(ctx: TrainingContext) -> TrainingResult:
    """Fit a line to noisy points; replace the data, the model and the loss with yours."""
    random = np.random.default_rng(ctx.seed)
    inputs = random.random((256, 1), dtype=np.float32)
    targets = 3 * inputs + 1 + 0.1 * random.standard_normal((256, 1), dtype=np.float32)

    model = keras.Sequential([keras.Input(shape=(1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(ctx.hyperparameters["lr"]), loss="mse")

    def report(epoch: int, logs: dict[str, float]) -> None:
        ctx.report(epoch, train_loss=logs["loss"], val_loss=logs["val_loss"])

    history = model.fit(
        inputs,
        targets,
        epochs=ctx.hyperparameters["epochs"],
        validation_split=0.25,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=report)],
        verbose=0,
    )
    val_loss = history.history["val_loss"][-1]
    return TrainingResult(val_loss, epochs_completed=ctx.hyperparameters["epochs"])


if __name__ == "__main__":
    explr.main(train_model, "framework=tensorflow", hyperparameters={"lr": 0.05, "epochs": 20})
