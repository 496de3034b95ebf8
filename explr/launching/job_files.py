"""Writes the three files that Hydra saves for a job, but faster and without secrets.

Otherwise the bytes are the same. libyaml writes them; the text of what jobs have in common is
written once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.omegaconf_private import container_of, mapping_in, to_yaml
from explr.core.secrets.masking import redacted

OF_EACH_JOB = ("hydra.job", "hydra.overrides", "hydra.runtime.output_dir")
"""What says in Hydra's own part which job it is."""

Path = Sequence[str]
"""The parts of a dotted key."""


class JobFiles:
    """The files of jobs that are made of the same config."""

    def __init__(self) -> None:
        self._task = _Mapping()
        self._hydra = _Mapping("hydra")

    def texts(
        self, config: DictConfig, task_config: DictConfig, changed: Sequence[str]
    ) -> dict[str, str]:
        """The content of each file of a job.

        Args:
            config: config of the job.
            task_config: the same without the node `hydra`.
            changed: dotted keys of all in which the job may differ from the config that the jobs
                are made of, besides `OF_EACH_JOB`.
        """
        task, hydra = self._task, self._hydra
        if "hydra" in changed:
            hydra = _Mapping("hydra")
        paths = [re.split(r"[].[]+", key) for key in (*changed, *OF_EACH_JOB)]
        own = config.hydra
        return {
            "config.yaml": task.text(task_config, paths),
            "hydra.yaml": hydra.text(
                own, [path[1:] for path in paths if path[0] == "hydra" and path[1:]]
            ),
            "overrides.yaml": to_yaml(
                redacted(OmegaConf.to_container(own.overrides.task, resolve=False))
            ),
        }


class _Undividable(Exception):
    """The text of a mapping is more than the texts of its parts."""


class _Mapping:
    """Writes a mapping of each job as YAML, part by part.

    Args:
        above: the keys under which it stands in its file.
    """

    def __init__(self, *above: str) -> None:
        self._above = above
        self._head = self._yaml({"": 0}).rpartition("  " * len(above))[0] if above else ""
        self._below: dict[str, _Mapping] = {}
        self._common: dict[str, str] = {}

    def text(self, config: DictConfig, changed: Sequence[Path]) -> str:
        """The whole file.

        Args:
            config: the mapping.
            changed: where it may differ from what the jobs have in common.
        """
        try:
            return self._head + "".join(self._parts(config, changed))
        except _Undividable:
            return self._yaml(container_of(config, list(config)))

    def _parts(self, config: DictConfig, changed: Sequence[Path]) -> Iterator[str]:
        keys = [key for key in config if isinstance(key, str)]
        if not keys or len(keys) < len(config):
            raise _Undividable
        for key in keys:
            below = [path[1:] for path in changed if path[0] == key]
            if not below:
                if key not in self._common:
                    self._common[key] = self._part(config, key)
                yield self._common[key]
            elif all(below) and key.isidentifier() and (mapping := mapping_in(config, key)):
                if key not in self._below:
                    self._below[key] = _Mapping(*self._above, key)
                part = self._below[key]
                yield part._head.removeprefix(self._head)
                yield from part._parts(mapping, below)
            else:
                yield self._part(config, key)

    def _part(self, config: DictConfig, key: str) -> str:
        content = container_of(config, [key])
        if "Path(" in repr(content):  # YAML writes one that stands in two places as a reference
            raise _Undividable
        return self._yaml(content).removeprefix(self._head)

    def _yaml(self, content: dict[Any, Any]) -> str:
        for key in reversed(self._above):
            content = {key: content}
        return to_yaml(redacted(content))
