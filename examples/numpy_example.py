"""Handwritten digits with NumPy alone: a network with one hidden layer, trained by Adam.

Run it with `explr framework=none`, or with `python examples/numpy_example.py lr=0.003`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import explr
from explr import TrainingContext, TrainingResult
from explr.examples.digits import PIXELS, load_digits
from explr.frameworks.progress import Progress

Array = NDArray[np.float32]


class Network:
    """Logits of shape (batch, 10) for images of shape (batch, 64).

    Args:
        width: units of the hidden layer.
    """

    def __init__(self, width: int) -> None:
        sizes = ((PIXELS, width), (width,), (width, 10), (10,))
        self.weights = [
            (np.random.randn(*size) * np.sqrt(2 / size[0]) * (len(size) > 1)).astype(np.float32)
            for size in sizes
        ]
        self.means = [np.zeros_like(weight) for weight in self.weights]
        self.squares = [np.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    def forward(self, images: Array) -> tuple[Array, Array]:
        """The hidden layer, and the logits."""
        hidden = np.maximum(images @ self.weights[0] + self.weights[1], 0)
        return hidden, hidden @ self.weights[2] + self.weights[3]

    def train(self, images: Array, labels: NDArray[np.int64], lr: float) -> float:
        """Take one step of Adam (Kingma and Ba, 2015); return the loss before the step."""
        hidden, logits = self.forward(images)
        loss, error = cross_entropy(logits, labels)
        back = (error @ self.weights[2].T) * (hidden > 0)
        slopes = [images.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
        self.steps += 1
        rate = lr * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for weight, mean, square, slope in zip(
            self.weights, self.means, self.squares, slopes, strict=True
        ):
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope**2 - square)
            weight -= rate * mean / (np.sqrt(square) + 1e-8)
        return loss


def cross_entropy(logits: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    """Mean loss, and its gradient with respect to the logits, of shape (batch, 10)."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    shares = shifted / shifted.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -float(np.mean(np.log(shares[rows, labels] + 1e-12)))
    shares[rows, labels] -= 1
    return loss, shares / len(labels)


def train_model(ctx: TrainingContext) -> TrainingResult:
    """Train on the digits; resume from the last checkpoint if there is one."""
    batch_size, epochs = ctx.hyperparameters["batch_size"], ctx.hyperparameters["epochs"]
    data = load_digits()
    images, val_images = (each.reshape(-1, PIXELS) for each in (data.train_images, data.val_images))
    network = Network(ctx.hyperparameters["width"])

    start = 0
    if (checkpoint := ctx.load_checkpoint()) is not None:
        last_epoch, state = checkpoint
        start = last_epoch + 1
        vars(network).update(state["network"])
        np.random.set_state(state["rng"])

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, *network.weights)

    progress = Progress(ctx, "best_model.npz", epochs, start_epoch=start)
    for epoch in range(start, epochs):
        order = np.random.permutation(len(images))
        train_loss = 0.0
        for begin in range(0, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            loss = network.train(images[batch], data.train_labels[batch], ctx.hyperparameters["lr"])
            train_loss += loss * len(batch) / len(images)
        _, logits = network.forward(val_images)
        val_loss, _ = cross_entropy(logits, data.val_labels)
        val_accuracy = float(np.mean(logits.argmax(1) == data.val_labels))
        metrics = {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy}
        progress.epoch_end(epoch, metrics, save)
        ctx.save_checkpoint({"network": vars(network), "rng": np.random.get_state()}, epoch)
    return progress.result()


if __name__ == "__main__":
    explr.main(train_model)
