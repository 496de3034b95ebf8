"""The peer of the start-up benchmarks: a Hydra app with a config tree like explr's, and no more."""

from __future__ import annotations

import time

import hydra
from omegaconf import DictConfig


@hydra.main(config_path="bare_conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Print when the first line is reached."""
    print("started", time.monotonic_ns(), flush=True)
    return 0.0


if __name__ == "__main__":
    main()
