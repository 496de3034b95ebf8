"""One Ray for all tests in this process, and a workshop for tests that run commands."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "sweep"))

if find_spec("ray") is None:
    pytest.skip("there is no Ray", allow_module_level=True)

os.environ.update(
    # Otherwise Ray kills workers when the machine is short of memory, whatever uses it.
    RAY_memory_monitor_refresh_ms="0",
    RAY_prestart_worker_first_driver="0",  # as sweeps have it: nobody needs idle workers
)

from sweeping import Workshop

CPUS = 6
"""Of the Ray that this process has joined."""


@pytest.fixture(scope="package")
def own_ray() -> Iterator[None]:
    """A Ray that this process has joined, which its sweeps then use."""
    import ray

    from explr.sweep.ray.private import without_aside

    with without_aside():
        ray.init(
            address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, object_store_memory=200 * 2**20,
        )  # fmt: skip
    os.environ.pop("PYTHONBREAKPOINT", None)  # Ray has every debugger be its own
    yield
    ray.shutdown()


@pytest.fixture
def one_worker() -> str:
    """The setting with which Ray runs one trial of a population at a time, in one worker."""
    return f"tuner.ray.cpus_per_trial={CPUS}"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the test in `tmp_path`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shop(tmp_path: Path, template: Path) -> Iterator[Workshop]:
    """Runs sweeps in `tmp_path`."""
    folder = tmp_path / "work"
    folder.mkdir()
    shop = Workshop(folder, tmp_path / "home", template)
    yield shop
    shop.close()
