"""The three files that Hydra saves for a job, byte for byte but for secrets, in less time.

libyaml writes them; and of a section that is as it was in the job before, the text is kept.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.omegaconf_private import to_yaml
from explr.core.secrets import redacted


class JobFiles:
    """The files of one job after another."""

    def __init__(self) -> None:
        self._task = _Sections()
        self._hydra = _Sections(within="hydra")

    def texts(self, config: DictConfig, task_config: DictConfig) -> dict[str, str]:
        """The content of each file of a job.

        Args:
            config: config of the job.
            task_config: the same without Hydra's own part.
        """
        return {
            "config.yaml": self._task.text(task_config),
            "hydra.yaml": self._hydra.text(config.hydra),
            "overrides.yaml": to_yaml(
                redacted(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
            ),
        }


class _Sections:
    """Mappings as YAML, section by section.

    Args:
        within: key that a mapping stands beneath in its file; None if it is the whole.
    """

    def __init__(self, within: str | None = None) -> None:
        self._within = within
        self._before: dict[Any, tuple[str, str]] = {}

    def text(self, config: DictConfig) -> str:
        """The YAML of a mapping."""
        content = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        assert isinstance(content, dict)
        shown = {key: repr(value) for key, value in content.items()}
        # A path that two sections share is written as a reference from one to the other.
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
