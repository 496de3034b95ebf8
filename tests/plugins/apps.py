"""Runs sweeps of Hydra apps in this process, with configs that a test writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from explr.config.hydra_private import Hydra, create_app, search_path_of
from explr.sweep.logs import callers_logging

CONFIG = {"config": "x: 1\ny: 1\nz: 1\n"}


class App:
    """A Hydra app.

    Args:
        folder: where its config files are written.
        files: their texts by name, `config` among them.
    """

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self._folder = folder / "conf"
        for name, text in files.items():
            file = self._folder / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def sweep(self, task: Callable[[DictConfig], Any], line: Sequence[str]) -> Any:
        """What the sweeper of `app -m LINE` returns; its folder is `out`."""
        with self._hydra() as hydra, callers_logging():
            line = ["hydra.sweep.dir=out", *line]
            return hydra.multirun("config", task, line, with_log_configuration=False)

    def composed(self, line: Sequence[str]) -> DictConfig:
        """The config of `app -m LINE`."""
        with self._hydra() as hydra:
            return hydra.compose_config(
                "config", [*line], run_mode=RunMode.MULTIRUN, with_log_configuration=False
            )

    @contextmanager
    def _hydra(self) -> Iterator[Hydra]:
        GlobalHydra.instance().clear()
        try:
            yield create_app("app", search_path_of(self._folder.as_uri()))
        finally:
            GlobalHydra.instance().clear()
