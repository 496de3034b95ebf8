"""The app of the sweep benchmarks: plain Hydra without explr.

A trial returns at once; where `BENCH_LENGTHS` gives a length in seconds for each trial, it sleeps
that long, and leaves the times of its start and its end in its folder.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

CONFIG = {
    "model": {"width": 32, "depth": 4, "dropout": 0.25},
    "data": {"name": "digits", "folder": "data", "batch_size": 64},
    "lr": 1e-3,
    "epochs": 20,
    "seed": 42,
}
ConfigStore.instance().store(name="bare_sweep", node=CONFIG)


@hydra.main(config_path=None, config_name="bare_sweep")
def main(cfg: DictConfig) -> float:
    """Returns a parabola's value."""
    lengths = os.environ.get("BENCH_LENGTHS")
    if lengths:
        begin = time.time()
        time.sleep(json.loads(lengths)[HydraConfig.get().job.num])
        Path(HydraConfig.get().runtime.output_dir, "times").write_text(f"{begin} {time.time()}")
    return (cfg.lr - 0.03) ** 2


if __name__ == "__main__":
    main()
