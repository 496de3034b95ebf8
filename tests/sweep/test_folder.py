"""The one folder of a sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra_spelling import register
from omegaconf import OmegaConf

from explr.config.settings_file import FILE_OVERLAY
from explr.core.errors import UsageError
from explr.sweep.jobs import SweepJobs
from explr.sweep.sweep import settle_folder
from explr.tuning.trial import Job


@pytest.fixture(autouse=True)
def _numbers() -> Iterator[None]:
    numbers = count()
    register("number", lambda: next(numbers))
    yield
    OmegaConf.clear_resolver("number")


def config(folder: str, output_subdir: str | None = ".hydra") -> Any:
    sweep = {"dir": folder, "subdir": "${hydra.job.num}"}
    hydra = {"sweep": sweep, "output_subdir": output_subdir, "job": {"num": "???"}}
    composed = OmegaConf.create({"hydra": hydra, "data": "a"})
    OmegaConf.set_readonly(composed.hydra, True)
    return composed


def job_of(composed: Any, *fixed: str, elsewhere: bool = False) -> dict[str, Any]:
    """What explr sets for a job alone."""
    space: Any = SimpleNamespace(fixed=list(fixed), job=lambda key, params, own: own)
    found: Any = SweepJobs(composed, space, elsewhere=elsewhere)(Job(3, 0, 1, 0, {}))
    return dict(found)


@pytest.mark.parametrize(
    ("written", "folder", "told"),
    [
        ("out", "out", False),
        ("out/${data}", "out/a", True),
        ("out/${number:}", "out/0", True),
        ("out/${hydra.job.num}", None, False),
    ],
)
def test_its_name_is_resolved_once(written: str, folder: str | None, told: bool, caplog) -> None:
    composed = config(written)
    if folder is None:
        with pytest.raises(
            UsageError, match=re.escape(f"hydra.sweep.dir={written} names no folder")
        ):
            settle_folder(composed)
        return
    with caplog.at_level("INFO", logger="explr.sweep"):
        settle_folder(composed)
    assert (composed.hydra.sweep.dir, bool(caplog.messages)) == (folder, told)
    for _ in range(2):
        assert job_of(composed) == {"hydra.sweep.dir": folder}
    assert job_of(composed, elsewhere=True) == {"hydra.sweep.dir": str(Path.cwd() / folder)}


def test_the_settings_of_a_file_stay_where_a_rerun_looks_for_them() -> None:
    assert job_of(config("out", None))["hydra.sweep.dir"] == "out"
    assert "hydra.output_subdir" not in job_of(config("out", None))
    assert job_of(config("out", None), FILE_OVERLAY)["hydra.output_subdir"] == ".hydra"
    assert "hydra.output_subdir" not in job_of(config("out"), FILE_OVERLAY)
