"""What experiments and runs are called in MLflow, unless the user names them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explr.core.folders import COMMAND
from explr.core.secrets.masking import redacted_arguments

GENERAL = frozenset(
    {
        "__main__",
        "main",
        "app",
        "cli",
        "code",
        "examples",
        "experiment",
        "experiments",
        "functools",
        "lib",
        "model",
        "models",
        "notebook",
        "notebooks",
        "run",
        "script",
        "scripts",
        "src",
        "test",
        "tests",
        "train",
        "trainer",
        "training",
        "tune",
    }
)
"""Names of files and folders that say nothing about a project."""

NOT_SAID = frozenset(
    {"experiment_name", "gpu", "objective", "search_space", "tracking", "train_model", "tuner"}
)
"""Keys whose overrides do not describe a training."""

NOTHING_SET = "defaults"
"""Name of a run for which nothing was set."""

LONGEST = 100
"""Characters of a run's name."""

RANGE = re.compile(r"=\w+\(.*\)$|=[^\[{'\"]*,")
"""What an override with several values or a range looks like."""

TIME = re.compile(r"[\d_.-]+")
"""What the name of a folder looks like that nobody chose."""

_given: str | None = None


@contextmanager
def training_given(name: str | None) -> Iterator[None]:
    """Within the block, the training is a function that the config does not name.

    Args:
        name: its `module:function`; None if the config names it.
    """
    global _given
    before, _given = _given, name
    try:
        yield
    finally:
        _given = before


def project_name(train_model: Any, folder: Path) -> str:
    """Name of the experiment of a training: its script's, or that of the folder around it.

    Args:
        train_model: the setting: a path to the function, or a mapping with `_target_`.
        folder: the working directory.
    """
    target = str(train_model.get("_target_") if isinstance(train_model, Mapping) else train_model)
    target = _given or target
    place = target.rpartition(":")[0] or target.rpartition(".")[0]
    if place.endswith(".py"):
        file = (folder / place).absolute()
        names = [file.stem, *_folders(file.parent)]
    else:
        names = [*reversed(place.split(".")), *_folders(folder.absolute())]
    telling = (name for name in names if name.lower() not in GENERAL and name.strip())
    return next(telling, None) or next((n for n in names if n not in ("", "__main__")), "default")


def _folders(folder: Path) -> list[str]:
    """The names of a folder and those above it, up to the user's home."""
    try:
        home = Path.home()
    except RuntimeError:  # this user has none
        home = Path("/")
    names = []
    while folder not in (home, folder.parent):
        names.append(folder.name)
        folder = folder.parent
    return names


def run_name(folder: Path, overrides: Iterable[str]) -> str:
    """Name of a single run: its folder's, or what was set for it if that is only a time.

    Args:
        folder: folder of the run.
        overrides: what was set, in Hydra's grammar.
    """
    if not TIME.fullmatch(folder.name):
        return folder.name
    return _joined([], _settings(overrides, NOT_SAID | {"framework"})) or NOTHING_SET


def trial_name(folder: Path, overrides: Iterable[str], common: Iterable[str]) -> str:
    """Name of a trial's run: its number and what was searched, `3 lr=0.01 width=64`.

    Args:
        folder: folder of the run.
        overrides: what was set, in Hydra's grammar.
        common: overrides that all trials of the sweep have.
    """
    is_replicate = (folder.parent.parent / COMMAND).exists()
    number = f"{folder.parent.name}/{folder.name}" if is_replicate else folder.name
    left_out = set(common)
    return _joined([number], _settings([o for o in overrides if o not in left_out], NOT_SAID))


def _settings(overrides: Iterable[str], not_said: AbstractSet[str]) -> Iterator[str]:
    """Settings as a person says them."""
    for text in redacted_arguments(list(overrides)):
        key, equals, value = text.lstrip("+").partition("=")
        group = re.split(r"[.@/]", key)[0]
        if equals and not key.startswith(("~", "explr/")) and group not in not_said:
            yield f"{key}={_short(value)}"


def _joined(words: list[str], settings: Iterable[str]) -> str:
    """Words in a line; what would make it too long is left out."""
    for setting in settings:
        if len(" ".join([*words, setting])) > LONGEST - 2:
            return " ".join([*words, "…"])
        words.append(setting)
    return " ".join(words)


def sweep_name(folder: Path, searched: Iterable[str], overrides: Iterable[str]) -> str:
    """Name of a sweep's run: its folder's, or what it searches if that is only a time.

    Args:
        folder: folder of the sweep.
        searched: what its config has ranges for.
        overrides: what was set for it, in Hydra's grammar; some may be ranges.
    """
    if not TIME.fullmatch(folder.name):
        return folder.name
    typed = [text.lstrip("+").partition("=")[0] for text in overrides if RANGE.search(text)]
    names = [name for name in dict.fromkeys([*searched, *typed]) if name not in NOT_SAID]
    name = f"sweep of {', '.join(names)}" if names else folder.name
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _short(value: str) -> str:
    """A value with at most four significant digits, and without quotes."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    try:
        short = f"{float(value):.4g}"
    except ValueError:
        return value
    return short if len(short) < len(value) and not value.lstrip("+-").isdigit() else value
