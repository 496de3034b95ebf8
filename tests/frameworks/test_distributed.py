"""Batches, averages and sharded checkpoints of several processes that train one model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import explr
from explr import TrainingContext
from explr.core.errors import UsageError

pytestmark = pytest.mark.slow


def line(ctx: TrainingContext) -> float:
    """Fits a network to a curve; writes down the loss of each epoch over all samples."""
    import torch

    from explr.frameworks.pytorch import average, distributed

    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64)[:, None]
    data = torch.utils.data.TensorDataset(x, torch.sin(3 * x))
    network = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    model, loader, sampler = distributed(ctx, network, data, batch_size=16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    losses = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(average(ctx, loss.detach()))
        ctx.report(epoch, val_loss=losses[-1])
    if ctx.rank == 0:
        (ctx.output_dir / "losses.json").write_text(json.dumps(losses))
    return losses[-1]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def run(train_model: Callable[[TrainingContext], Any], processes: int) -> Path:
        settings = ["tracking=off", "gpu=cpu", "framework=pytorch"]
        cfg = explr.compose([*settings, f"framework.processes={processes}"])
        folder = tmp_path / str(processes)
        explr.run(cfg, train_model=train_model, output_dir=folder)
        return folder

    return run


def test_two_processes_learn_what_one_learns_with_the_joint_batch(
    train: Callable[..., Path],
) -> None:
    one, two = (json.loads((train(line, n) / "losses.json").read_text()) for n in (1, 2))
    assert len(one) == len(two) == 32
    assert two == pytest.approx(one, abs=1e-5)
    assert one[-1] < one[0]


def test_a_sharded_checkpoint_is_read_by_another_number_of_processes(
    train: Callable[..., Path], tmp_path: Path
) -> None:
    def sharded(ctx: TrainingContext) -> float:
        import torch
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        from explr.frameworks.pytorch import load_sharded, save_sharded

        torch.manual_seed(ctx.rank)
        model = torch.nn.Linear(4, 4)
        if ctx.world_size > 1:
            fully_shard(model, mesh=init_device_mesh("cpu", (ctx.world_size,)))
        state = {"model": model.state_dict()}
        folder = ctx.output_dir.parent
        ctx.checkpoint_dir = str(folder / "shared")
        if ctx.world_size == 1:
            assert load_sharded(ctx, state) == 4
            total = float(sum(value.abs().sum() for value in state["model"].values()))
            assert total == pytest.approx(float((folder / "total").read_text()))
            return total
        assert load_sharded(ctx, state) is None
        for step in (2, 3, 4):
            save_sharded(ctx, state, step)
        whole = [value.full_tensor().abs().sum() for value in model.state_dict().values()]
        (folder / "total").write_text(str(float(sum(whole))))
        return 1.0

    train(sharded, 2)
    train(sharded, 1)
    kept = {path.name for path in (tmp_path / "shared" / "sharded").iterdir()}
    assert kept == {"step-000000003", "step-000000004"}


def test_what_cannot_be_divided_is_told(tmp_path: Path) -> None:
    import torch

    from explr.frameworks.pytorch import distributed

    class Stream(torch.utils.data.IterableDataset[int]):
        def __iter__(self) -> Iterator[int]:
            return iter(range(3))

    model: Any = torch.nn.Linear(1, 1)
    two: Any = TrainingContext({}, tracker=None, trial_id="", device="cpu", world_size=2)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="batch_size=7 cannot be divided among 2 processes"):
        distributed(two, model, range(8), batch_size=7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a data set with a length"):
        distributed(two, model, Stream(), batch_size=8)
