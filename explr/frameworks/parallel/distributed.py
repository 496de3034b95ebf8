"""Several processes that train one model with PyTorch: batches, averages, sharded checkpoints.

All of it works in a single process too, so that a training needs no second version.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from explr.core.errors import CheckpointError, UsageError
from explr.core.folders import flush
from explr.core.protocols import TrainingContext
from explr.core.reporter import whole_step

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader, Dataset, DistributedSampler

COMPLETE = ".metadata"
"""File that PyTorch writes last into a sharded checkpoint."""

KEPT = 2
"""Sharded checkpoints that are kept: the latest one and a fallback."""


class Distributed(NamedTuple):
    """A model and the batches that this process trains it with."""

    model: torch.nn.Module
    """The model on this process's device; with several processes in PyTorch's
    `DistributedDataParallel`, whose `module` is the model itself."""
    loader: DataLoader[Any]
    """A `DataLoader` with the batches of this process."""
    sampler: DistributedSampler[Any]
    """Chooses their samples; call `sampler.set_epoch(epoch)` before each epoch."""


def distributed(
    ctx: TrainingContext,
    model: torch.nn.Module,
    dataset: Dataset[Any],
    *,
    batch_size: int,
    shuffle: bool = True,
    ddp: Mapping[str, Any] | None = None,
    **loader: Any,
) -> Distributed:
    """Prepare a model and a data set for training in all processes of a training.

    Args:
        ctx: the training's context.
        model: the model; its parameters become those of rank 0.
        dataset: a data set with a length. Each process gets another part of it in each epoch.
        batch_size: samples of one step, in all processes together.
        shuffle: whether the order is another one in each epoch; it depends on the seed of rank 0.
        ddp: more arguments for `DistributedDataParallel`, such as `find_unused_parameters`.
        loader: more arguments for `DataLoader`, such as `num_workers`.

    Raises:
        UsageError: `batch_size` cannot be divided among the processes, or the data set has no
            length.
    """
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.data import DataLoader, DistributedSampler

    if batch_size < 1 or batch_size % ctx.world_size:
        raise UsageError(
            f"batch_size={batch_size} cannot be divided among {ctx.world_size} processes: it "
            "counts the samples of one step in all of them"
        )
    if not hasattr(dataset, "__len__"):
        raise UsageError(
            "distributed() takes a data set with a length: divide an iterable one yourself, by "
            "ctx.rank and ctx.world_size"
        )
    sampler: DistributedSampler[Any] = DistributedSampler(
        dataset,
        num_replicas=ctx.world_size,
        rank=ctx.rank,
        shuffle=shuffle,
        seed=_of_rank_0(ctx, ctx.seed or 0),
    )
    model = model.to(ctx.device)
    if ctx.world_size > 1:
        devices = [ctx.local_rank] if ctx.device.startswith("cuda") else None
        model = DistributedDataParallel(model, device_ids=devices, **(ddp or {}))
    batches: DataLoader[Any] = DataLoader(
        dataset, batch_size=batch_size // ctx.world_size, sampler=sampler, **loader
    )
    return Distributed(model, batches, sampler)


def average(ctx: TrainingContext, value: Any, weight: float = 1.0) -> float:
    """The mean of a number over all processes; all of them must call it.

    Args:
        ctx: the training's context.
        value: the number of this process, or a tensor of one element.
        weight: its weight, such as the number of samples that it is the mean of.
    """
    if ctx.world_size == 1:
        return float(value)
    import torch
    from torch import distributed

    sums = torch.tensor([float(value) * weight, weight], dtype=torch.float64, device=ctx.device)
    distributed.all_reduce(sums)
    total, weights = sums.tolist()
    return float(total / weights)


def save_sharded(ctx: TrainingContext, state: Mapping[str, Any], step: int) -> Path:
    """Save a state that is spread over the processes, as of FSDP; all of them must call it.

    It is written by `torch.distributed.checkpoint`, a file for each process. The latest two are
    kept. A kill at any moment leaves a usable one.

    Args:
        ctx: the training's context.
        state: state dicts by name, such as those of
            `torch.distributed.checkpoint.state_dict.get_state_dict`.
        step: step of the state, a whole number from 0 on.

    Returns:
        The folder.

    Raises:
        CheckpointError: it cannot be written.
    """
    from torch.distributed.checkpoint.state_dict_saver import save

    folder = _sharded(ctx) / f"step-{whole_step(step, least=0):09d}"
    try:
        if ctx.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)  # a part of one, of an earlier attempt
            folder.mkdir(parents=True)
        _of_rank_0(ctx, None)
        with _alone(ctx) as alone:
            save(dict(state), checkpoint_id=folder, no_dist=alone)
        if ctx.rank == 0:
            flush(folder)
            for older in _complete(ctx)[KEPT:]:
                shutil.rmtree(older, ignore_errors=True)
        _of_rank_0(ctx, None)
    except OSError as error:
        raise CheckpointError(f"no checkpoint at {folder}: {error.strerror or error}") from error
    return folder


def load_sharded(ctx: TrainingContext, state: Mapping[str, Any]) -> int | None:
    """Read the latest state that `save_sharded` has saved; all processes must call it.

    The number of processes may be another one than when it was saved.

    Args:
        ctx: the training's context.
        state: state dicts by name, as they are to be filled, in place.

    Returns:
        The step of the state; None if there is none.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    found = _of_rank_0(ctx, next(map(str, _complete(ctx)), None))
    if found is None:
        return None
    with _alone(ctx) as alone:
        load(dict(state), checkpoint_id=found, no_dist=alone)
    return int(Path(found).name.removeprefix("step-"))


@contextmanager
def _alone(ctx: TrainingContext) -> Iterator[bool]:
    """Tell whether this process trains alone, of which PyTorch need not warn."""
    with warnings.catch_warnings():
        if ctx.world_size == 1:
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield ctx.world_size == 1


def _sharded(ctx: TrainingContext) -> Path:
    return Path(ctx.checkpoint_dir) / "sharded"


def _complete(ctx: TrainingContext) -> list[Path]:
    """The complete sharded checkpoints, the latest first."""
    return sorted((one.parent for one in _sharded(ctx).glob(f"step-*/{COMPLETE}")), reverse=True)


def _of_rank_0(ctx: TrainingContext, value: Any) -> Any:
    """The value that rank 0 has; all ranks wait for it."""
    if ctx.world_size == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, device=None)
    return values[0]
