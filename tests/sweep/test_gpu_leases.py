"""Which GPU each slot of a sweep is given, and how much of its memory; the driver is simulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulated_driver import DISPLAY, Card, build_driver
from sweeping import Workshop

TRAINING = """\
import json
import os


def train(ctx):
    lease = os.environ.get("CUDA_VISIBLE_DEVICES"), ctx.config.gpu.memory_limit_gb
    (ctx.output_dir / "lease.json").write_text(json.dumps(lease))
    return 0.5
"""

MEETING = (
    TRAINING.replace(
        "    return 0.5",
        "    while len(list(ctx.output_dir.parent.glob('*/lease.json'))) < 2:\n"
        "        time.sleep(0.01)\n"
        "    return 0.5",
    )
    + "\n\nimport time\n"
)
"""Each of two trainings waits for the other one, so that both run at once."""


@pytest.mark.slow  # imports PyTorch, to ask it which GPUs it can use
def test_each_slot_has_its_gpu_and_its_part_of_the_memory(shop: Workshop, tmp_path: Path) -> None:
    leases = [("0", 24 / 2 - 0.5), ("1", 14.4), ("0", 24 / 2 - 0.5)]
    (shop.folder / "leasing.py").write_text(TRAINING)
    driver = tmp_path / "driver"
    driver.mkdir()
    shop.environment["LD_LIBRARY_PATH"] = str(build_driver(driver))
    done = shop.run(
        shop.explr(
            "train_model=leasing:train", "tracking=off", "tuner=optuna", "tuner.study_name=s",
            "-m", "lr=interval(0,1)", "tuner.n_jobs=3", "tuner.n_trials=3",
        )
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    given = [
        json.loads((shop.folder / "multirun" / "s" / str(number) / "lease.json").read_text())
        for number in range(3)
    ]
    assert [devices for devices, _ in given] == [devices for devices, _ in leases]
    assert [gb for _, gb in given] == pytest.approx([gb for _, gb in leases])


def test_a_trial_with_several_gpus(shop: Workshop, tmp_path: Path) -> None:
    (shop.folder / "leasing.py").write_text(MEETING)
    driver = build_driver(tmp_path / "driver", [Card(used_gb=0)] * 8)
    shop.environment["LD_LIBRARY_PATH"] = str(driver)
    common = ("framework=none", "train_model=leasing:train", "tracking=off", "-m", "tuner=optuna")
    for jobs, study in (("8", "fixed"), ("auto", "auto")):
        done = shop.run(
            shop.explr(
                *common, "gpu.per_trial=4", f"tuner.n_jobs={jobs}", f"tuner.study_name={study}",
                "lr=interval(0,1)", "tuner.n_trials=2",
            )
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        leases = [
            json.loads((shop.folder / f"multirun/{study}/{number}/lease.json").read_text())
            for number in range(2)
        ]
        assert sorted(leases) == [["0,1,2,3", 24.0], ["4,5,6,7", 24.0]]
        if jobs == "8":
            assert "trials at once: 2 instead of 8, since each has 4 GPUs of its own" in done.stdout
    grid = ("hydra/launcher=explr_local", "hydra.launcher.n_jobs=8", "lr=0.1,0.2")
    done = shop.run(shop.explr(*common[:-1], "gpu.per_trial=4", "hydra.sweep.dir=grid", *grid))
    assert done.returncode == 0, done.stderr
    done = shop.run(shop.explr(*common, "gpu.per_trial=9", "lr=interval(0,1)"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "each trial needs 9 GPUs (gpu.per_trial, framework.processes), and there are 8 to use: "
        "set fewer, or gpu=cpu"
    ]


def test_a_sweep_on_one_gpu_of_several(shop: Workshop, tmp_path: Path) -> None:
    (shop.folder / "leasing.py").write_text(TRAINING)
    driver = tmp_path / "driver"
    driver.mkdir()
    cards = [DISPLAY, Card(), Card("NVIDIA RTX A4000", 16, cores=6144)]
    shop.environment["LD_LIBRARY_PATH"] = str(build_driver(driver, cards))
    common = ("framework=none", "train_model=leasing:train", "tracking=off", "gpu.device=cuda:1")
    sweep = (
        "tuner=optuna",
        "tuner.study_name=s",
        "lr=interval(0,1)",
        "tuner.n_jobs=1",
        "tuner.n_trials=1",
    )
    grid = ("hydra/launcher=explr_local", "hydra.sweep.dir=multirun/s", "lr=0.1,0.2")
    for number, more in enumerate((sweep, grid)):
        done = shop.run(shop.explr(*common, "-m", *more))
        assert done.returncode == 0, done.stderr
        lease = (shop.folder / "multirun" / "s" / str(number) / "lease.json").read_text()
        assert json.loads(lease) == ["1", 14.4], "CUDA's number 1 is the second fastest"
