"""Plain Ray Tune at its best: trials that sleep, on actors that are used again and again."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import ray
from ray import tune

LENGTHS = json.loads(os.environ["BENCH_LENGTHS"])


def train(config: dict[str, int]) -> None:
    """Sleep as long as the trial is to take, and note when it began and ended."""
    begin = time.time()
    time.sleep(LENGTHS[config["number"]])
    folder = Path(os.environ["BENCH_FOLDER"], str(config["number"]))
    folder.mkdir(parents=True)
    (folder / "times").write_text(f"{begin} {time.time()}")
    tune.report({"loss": 0.5})


def main() -> None:
    """Run every trial once on as many actors as the first argument says."""
    slots = int(sys.argv[1])
    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        train,
        param_space={"number": tune.grid_search(list(range(len(LENGTHS))))},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=slots),
        run_config=tune.RunConfig(storage_path=os.environ["BENCH_FOLDER"], verbose=0),
    ).fit()


if __name__ == "__main__":
    main()
