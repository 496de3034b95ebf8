"""P24: from the command to the moment at which two processes train together, beside `torchrun`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from _timing import EXPLR, HERE, alternate, place, print_ratio, started_after, wait_until_gone
from bare_ranks import summed

from explr import TrainingContext

PAIRS = 5


def train(ctx: TrainingContext) -> float:
    """Print when both processes are there."""
    summed()
    if ctx.rank == 0:
        print("started", time.monotonic_ns(), flush=True)
    return 0.0


def main() -> None:
    with place(EXPLR_AUTOSTART="0", OMP_NUM_THREADS="1") as (folder, environment):
        environment["PYTHONPATH"] = str(HERE)
        command = (
            EXPLR, "train_model=p24_ranks:train", "framework=pytorch", "framework.processes=2",
            "gpu=cpu",
        )  # fmt: skip
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
        bare = (sys.executable, *launcher, str(HERE / "bare_ranks.py"))

        def ours() -> float:
            seconds = started_after(command, folder, environment, "started")
            wait_until_gone(Path(environment["EXPLR_HOME"]))
            return seconds

        def peers() -> float:
            return started_after(bare, folder, environment, "started")

        measured = alternate(ours, peers, PAIRS)
        print_ratio("P24 start of two processes", *measured, "torchrun", 1.3)


if __name__ == "__main__":
    main()
