"""Handwritten digits with PyTorch: a small convolutional network in a plain training loop.

Run it with `explr framework=pytorch`, or with `python examples/pytorch_example.py lr=0.003`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import explr
from explr import TrainingContext, TrainingResult
from explr.examples.digits import load_digits
from explr.frameworks.pytorch import TorchReporter


def build_model(width: int) -> nn.Sequential:
    """A network that takes images of shape (batch, 1, 8, 8) and gives logits (batch, 10).

    Args:
        width: channels of the first convolution; the second has twice as many.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(2 * width * 4 * 4, 10),
    )


def train_model(ctx: TrainingContext) -> TrainingResult:
    """Train on the digits; resume from the last checkpoint if there is one."""
    batch_size, epochs = ctx.hyperparameters["batch_size"], ctx.hyperparameters["epochs"]
    train_images, train_labels, val_images, val_labels = (
        torch.from_numpy(array).to(ctx.device) for array in load_digits()
    )
    model = build_model(ctx.hyperparameters["width"]).to(ctx.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=ctx.hyperparameters["lr"])

    start = 0
    if (checkpoint := ctx.load_checkpoint()) is not None:
        last_epoch, state = checkpoint
        start = last_epoch + 1
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])

    reporter = TorchReporter(ctx, model, epochs, start_epoch=start)
    for epoch in range(start, epochs):
        model.train()
        train_loss = 0.0
        for batch in torch.randperm(len(train_images)).split(batch_size):
            logits = model(train_images[batch, None])
            loss = cross_entropy(logits, train_labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(batch) / len(train_images)

        model.eval()
        with torch.no_grad():
            logits = model(val_images[:, None])
            val_loss = cross_entropy(logits, val_labels)
            val_accuracy = (logits.argmax(dim=1) == val_labels).float().mean()

        reporter.epoch_end(
            epoch, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy
        )
        ctx.save_checkpoint(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": torch.get_rng_state(),
            },
            epoch,
        )
    return reporter.result()


if __name__ == "__main__":
    explr.main(train_model)
