"""Which kind of executor runs the jobs of a sweep: `hydra.launcher` decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from explr.config.hydra_private import BASIC_LAUNCHER
from explr.config.nodes import LAUNCHER
from explr.sweep.executors.explr_local import LocalKind
from explr.sweep.executors.hydra_launcher import JoblibKind, LauncherKind, RayKind
from explr.sweep.executors.inline import InlineKind
from explr.sweep.executors.kind import ExecutorKind

KINDS: Mapping[str, ExecutorKind] = {
    LAUNCHER["_target_"]: LocalKind(),
    BASIC_LAUNCHER: InlineKind(),
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher": JoblibKind(),
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": RayKind(),
}
"""The kind of executor behind each launcher, by the launcher's `_target_`."""

ANY = LauncherKind()
"""The kind behind every other launcher of Hydra's."""


def kind_of(launcher: Any) -> ExecutorKind:
    """The kind of executor behind a launcher.

    Args:
        launcher: the node `hydra.launcher`.
    """
    return KINDS.get(str(launcher._target_), ANY)
