"""Where your own training with PyTorch starts: `python pytorch_skeleton.py lr=0.1`."""

import torch
from torch import nn

import explr
from explr import TrainingContext, TrainingResult


def train_model(ctx: TrainingContext) -> TrainingResult:
    """Fit a line to noisy points; replace the data, the model and the loss with yours."""
    inputs = torch.rand(256, 1, device=ctx.device)
    targets = 3 * inputs + 1 + 0.1 * torch.randn_like(inputs)
    train, val = slice(0, 192), slice(192, 256)

    model = nn.Linear(1, 1).to(ctx.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=ctx.hyperparameters["lr"])
    loss_of = nn.MSELoss()
    val_loss = float("inf")

    for epoch in range(ctx.hyperparameters["epochs"]):
        loss = loss_of(model(inputs[train]), targets[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            val_loss = loss_of(model(inputs[val]), targets[val]).item()
        ctx.report(epoch, train_loss=loss.item(), val_loss=val_loss)

    return TrainingResult(val_loss, epochs_completed=ctx.hyperparameters["epochs"])


if __name__ == "__main__":
    explr.main(train_model, hyperparameters={"lr": 0.05, "epochs": 100})
