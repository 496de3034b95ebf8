"""Handwritten digits with TensorFlow: a small convolutional network, trained by Keras.

Run it with `explr framework=tensorflow`, or with
`python examples/tensorflow_example.py lr=0.003`.
"""

from __future__ import annotations

import keras
from keras import layers

import explr
from explr import TrainingContext, TrainingResult
from explr.examples.digits import load_digits
from explr.frameworks.tensorflow import KerasReporter


def build_model(width: int, lr: float) -> keras.Model:
    """A network that takes images of shape (batch, 8, 8, 1) and gives logits (batch, 10).

    Args:
        width: channels of the first convolution; the second has twice as many.
        lr: learning rate of Adam.
    """
    model = keras.Sequential(
        [
            keras.Input(shape=(8, 8, 1)),
            layers.Conv2D(width, kernel_size=3, padding="same", activation="relu"),
            layers.Conv2D(2 * width, kernel_size=3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(lr),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train_model(ctx: TrainingContext) -> TrainingResult:
    """Train on the digits; resume from the last checkpoint if there is one."""
    digits = load_digits()
    checkpoint = ctx.load_checkpoint()
    if checkpoint is None:
        start = 0
        model = build_model(ctx.hyperparameters["width"], ctx.hyperparameters["lr"])
    else:
        last_epoch, model = checkpoint
        start = last_epoch + 1

    reporter = KerasReporter(ctx, start_epoch=start)
    saver = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: ctx.save_checkpoint(model, epoch)
    )
    model.fit(
        digits.train_images[..., None],
        digits.train_labels,
        batch_size=ctx.hyperparameters["batch_size"],
        epochs=ctx.hyperparameters["epochs"],
        initial_epoch=start,
        validation_data=(digits.val_images[..., None], digits.val_labels),
        callbacks=[reporter, saver],
        verbose=0,
    )
    return reporter.result()


if __name__ == "__main__":
    explr.main(train_model, "framework=tensorflow")
