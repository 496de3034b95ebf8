"""`explr gpu-info`, `explr memory` and `explr verify`, over a driver that knows made-up GPUs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from simulated_driver import (
    LAPTOP,
    LIBRARY_RM_VERSION_MISMATCH,
    Card,
    build_driver,
    no_driver,
)


@pytest.fixture(scope="module")
def rtx_5090(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a driver with one RTX 5090, which this process and a stranger use."""
    card = Card(used_gb=2, processes={os.getpid(): 1.5, 2**22 + 1: 0.25})
    return str(build_driver(tmp_path_factory.mktemp("driver"), [card]))


def without(package: str) -> str:
    """`explr` as a program for which a package is not installed."""
    return f"""\
import importlib.util

from explr.runner.cli.main import main

find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else find(name, *rest)
main()
"""


def statuses(text: str) -> dict[str, str]:
    return {check["name"]: check["status"] for check in json.loads(text)["checks"]}


def test_gpu_info_shows_a_card_and_who_uses_it(explr: Any, rtx_5090: str) -> None:
    done = explr("gpu-info", LD_LIBRARY_PATH=rtx_5090)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("NVIDIA driver 570.195.03, CUDA 12.8\n")
    shown = (
        "NVIDIA GeForce RTX 5090", "32.0 GiB", "7 %", "41 °C", "62 W of 575 W", "12.0", "sm_120",
        "unknown", str(os.getpid()), "1.5 GiB", str(2**22 + 1), "0.2 GiB",
    )  # fmt: skip
    assert [text for text in shown if text not in done.stdout] == []


@pytest.mark.slow
def test_gpu_info_for_programs(explr: Any, tmp_path: Path) -> None:
    driver = build_driver(tmp_path, [Card(), LAPTOP])
    found = json.loads(explr("gpu-info", "--json", LD_LIBRARY_PATH=str(driver)).stdout)
    assert (found["version"], found["cuda"], found["fault"]) == ("570.195.03", "12.8", None)
    first, laptop = found["gpus"]
    assert (first["compute_capability"], first["memory_total_gb"]) == ("12.0", 32)
    unknown = ("utilization_percent", "temperature_c", "power_w", "mig", "processes")
    assert {laptop[name] for name in unknown} == {None}
    shown = explr("memory", "--show", LD_LIBRARY_PATH=str(driver)).stdout.splitlines()
    assert shown[:2] == [
        "budget of cuda:0 (GPU 0, NVIDIA GeForce RTX 5090): 24 GiB (explr's default)",
        "budget of cuda:1 (GPU 1, NVIDIA GeForce RTX 3050 Laptop GPU): "
        "3.6 GiB (90% of cuda:1, NVIDIA GeForce RTX 3050 Laptop GPU)",
    ]


def test_gpu_info_shows_what_a_laptop_does_not_tell_as_unknown(explr: Any, tmp_path: Path) -> None:
    done = explr("gpu-info", LD_LIBRARY_PATH=str(build_driver(tmp_path, [LAPTOP])))
    assert done.returncode == 0
    assert done.stdout.count("unknown") == 5
    assert "the processes on GPU 0 are unknown" in done.stdout


@pytest.mark.slow
def test_no_driver_is_an_answer(explr: Any, tmp_path: Path) -> None:
    folder = str(no_driver(tmp_path / "none"))
    for command in ("gpu-info", "memory"):
        done = explr(command, LD_LIBRARY_PATH=folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert "there is no NVIDIA driver on this machine" in done.stdout
    found = json.loads(explr("gpu-info", "--json", LD_LIBRARY_PATH=folder).stdout)
    assert (found["missing"], found["gpus"]) == (True, [])


def test_a_driver_updated_without_a_reboot_is_an_answer_too(explr: Any, tmp_path: Path) -> None:
    driver = build_driver(tmp_path, fault=LIBRARY_RM_VERSION_MISMATCH)
    done = explr("gpu-info", LD_LIBRARY_PATH=str(driver))
    assert done.returncode == 0
    assert "has not been rebooted since" in done.stdout


@pytest.mark.slow
def test_memory_keeps_a_default_and_shows_where_it_comes_from(
    explr: Any, rtx_5090: str, tmp_path: Path
) -> None:
    machine = {"LD_LIBRARY_PATH": rtx_5090, "EXPLR_HOME": str(tmp_path / "home")}
    shown = explr("memory", "--show", **machine).stdout
    assert shown.startswith("budget: 24 GiB (explr's default)\n")
    assert "30.0 GiB" in shown
    assert "1.5 GiB" in shown
    kept = explr("memory", "--limit", "16", **machine)
    assert kept.returncode == 0, kept.stderr
    settings = tmp_path / "home" / "settings.json"
    source = f"budget: 16 GiB (gpu_memory_gb, your default in {settings})"
    assert source in kept.stdout
    assert source in explr("memory", **machine).stdout
    variable = explr("memory", **machine, EXPLR_GPU_MEMORY_GB="0").stdout
    assert variable.startswith("budget: no limit (EXPLR_GPU_MEMORY_GB, the environment)")
    back = explr("memory", "--limit", "default", **machine)
    assert "budget: 24 GiB (explr's default)" in back.stdout
    assert json.loads(settings.read_text()) == {}


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("33", "--limit=33 is more than the 32.0 GiB of the largest GPU here"),
        ("-1", "--limit must be a number of GiB, at least 0 (which sets no limit), got '-1'"),
        ("much", "--limit must be a number of GiB, at least 0 (which sets no limit), got 'much'"),
    ],
)
def test_memory_refuses_a_limit_in_one_sentence(
    explr: Any, rtx_5090: str, tmp_path: Path, limit: str, text: str
) -> None:
    home = str(tmp_path / "home")
    done = explr("memory", "--limit", limit, LD_LIBRARY_PATH=rtx_5090, EXPLR_HOME=home)
    assert done.returncode == 2
    assert done.stderr.startswith(text)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "home" / "settings.json").exists()


@pytest.mark.parametrize(
    ("variable", "text"),
    [("33", "EXPLR_GPU_MEMORY_GB=33 is more than the 32.0 GiB"), ("x", "EXPLR_GPU_MEMORY_GB must")],
)
def test_a_training_refuses_a_limit_from_outside_in_one_sentence(
    explr: Any, rtx_5090: str, project: Path, variable: str, text: str
) -> None:
    done = explr(
        "train_model=trainings:train", "lr=0.1", "tracking=off", "gpu.device=cpu",
        LD_LIBRARY_PATH=rtx_5090, EXPLR_GPU_MEMORY_GB=variable,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(text)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_verify_passes_or_warns_on_a_machine_without_a_gpu(explr: Any, tmp_path: Path) -> None:
    folder = str(no_driver(tmp_path / "none"))
    (tmp_path / "command.py").write_text(without("ray"))
    settings = ("tuner=optuna", "tuner.n_jobs=4", "gpu.memory_limit_gb=20")  # as in docs/gpus.md
    line = ("command.py", "verify", *settings, "--json")
    done = explr.script(*line, LD_LIBRARY_PATH=folder, timeout_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = statuses(done.stdout)
    assert set(found) == {
        "NVIDIA driver", "driver and its library", "NVML's binding", "memory budget",
        "trials at once", "PyTorch's CUDA", "PyTorch's kernels", "PyTorch computes",
        "TensorFlow's CUDA", "TensorFlow's kernels", "TensorFlow computes", "MLflow's API", "Ray",
        "/dev/shm", "C compiler", "outputs", "multirun", "EXPLR_HOME",
    }  # fmt: skip
    rows: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    assert all(bool(row["remedy"]) is (row["status"] != "pass") for row in rows)
    assert {found["PyTorch computes"], found["TensorFlow computes"]} == {"pass"}
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_verify_fails_beside_a_gpu_that_the_build_of_pytorch_cannot_use(
    explr: Any, tmp_path: Path
) -> None:
    driver = str(build_driver(tmp_path / "driver", [Card(used_gb=20)]))
    (tmp_path / "command.py").write_text(without("tensorflow"))
    line = ("command.py", "verify", "tuner=optuna", "tuner.n_jobs=60", "tracking=off")
    done = explr.script(*line, LD_LIBRARY_PATH=driver, timeout_s=240)
    assert done.returncode == 1, done.stderr
    if "is built for the CPU" not in done.stdout.partition("TensorFlow")[0]:
        pytest.skip("the installed PyTorch is built for CUDA")
    assert "fail  PyTorch's CUDA" in done.stdout
    assert "pip install torch==2.10.0" in " ".join(done.stdout.split())
    assert "fail  trials at once: 60 on 1 GPU(s)" in done.stdout
    assert (
        "warn  memory budget: 24 GiB (explr's default), and cuda:0 has 12.0 of 32.0" in done.stdout
    )
    assert "sees 1 GPU(s)" in done.stdout  # Ray does, by a copy of the binding of its own


@pytest.mark.slow
def test_verify_refuses_settings_that_are_none(explr: Any) -> None:
    done = explr("verify", "gpu.memry=1")
    assert done.returncode == 2
    assert "gpu.memry; did you mean gpu.memory_limit_gb?" in done.stderr
