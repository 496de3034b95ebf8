"""Writes the three files that Hydra saves for a job, but faster and without secrets.

Otherwise the bytes are the same. libyaml writes them; the text of an unchanged section is reused.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.omegaconf_private import to_yaml
from explr.core.secrets.masking import redacted


class JobFiles:
    """The files of one job after another."""

    def __init__(self) -> None:
        self._task = _Sections()
        self._hydra = _Sections(within="hydra")

    def texts(self, config: DictConfig, task_config: DictConfig) -> dict[str, str]:
        """The content of each file of a job.

        Args:
            config: config of the job.
            task_config: the same without the node `hydra`.
        """
        return {
            "config.yaml": self._task.text(task_config),
            "hydra.yaml": self._hydra.text(config.hydra),
            "overrides.yaml": to_yaml(
                redacted(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
            ),
        }


class _Sections:
    """Writes mappings as YAML, section by section.

    Args:
        within: parent key of the mapping in its file; None if it is the whole file.
    """

    def __init__(self, within: str | None = None) -> None:
        self._within = within
        self._before: dict[Any, tuple[str, str]] = {}

    def text(self, config: DictConfig) -> str:
        """The YAML of a mapping."""
        content = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        assert isinstance(content, dict)
        shown = {key: repr(value) for key, value in content.items()}
        # YAML writes a value that two sections share as a reference.
        if not content or any("Path(" in text for text in shown.values()):
            return self._head + self._written(content)
        for key, text in shown.items():
            if key not in self._before or self._before[key][0] != text:
                self._before[key] = text, self._written({key: content[key]})
        return self._head + "".join(self._before[key][1] for key in content)

    @property
    def _head(self) -> str:
        return f"{self._within}:\n" if self._within else ""

    def _written(self, content: dict[Any, Any]) -> str:
        """A part of the mapping, without the head."""
        whole = to_yaml(redacted({self._within: content} if self._within else content))
        return whole.removeprefix(self._head)
