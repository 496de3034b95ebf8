"""Two processes of PyTorch alone, as `torchrun` starts them; the peer of P24."""

from __future__ import annotations

import os
import time

import torch
from torch import distributed


def main() -> None:
    distributed.init_process_group("gloo")
    summed()
    if os.environ["RANK"] == "0":
        print("started", time.monotonic_ns(), flush=True)
    distributed.destroy_process_group()


def summed() -> None:
    """Wait until both processes are there."""
    one = torch.ones(1)
    distributed.all_reduce(one)
    assert float(one) == 2


if __name__ == "__main__":
    main()
