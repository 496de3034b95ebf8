"""What a person may have meant by a word of the command line that means nothing there."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from explr.config.compose import all_groups, options_of
from explr.config.grammar import plain
from explr.core.config import (
    ROOT_KEYS,
    DataConfig,
    GpuConfig,
    MLflowConfig,
    ObjectiveConfig,
    RayConfig,
    SearchConfig,
)

WITH_TUNER = "add tuner=optuna and -m"
"""What a setting of a sweep wants where no tuner is chosen."""

SEARCH = [each.name for each in fields(SearchConfig)]
"""Settings of a sweep."""

SETTINGS: Mapping[str, str] = {
    each.name: f"{group}.{each.name}"
    for group, schema in {
        "gpu": GpuConfig,
        "data": DataConfig,
        "tracking": MLflowConfig,
        "objective": ObjectiveConfig,
        "tuner": RayConfig,
    }.items()
    for each in fields(schema)
    if each.name not in ("name", "ray")
}
"""Settings by the last part of their names."""


def key_hint(key: str, override: Override, whole: DictConfig, loader: ConfigLoader) -> str:
    """What a key that is not there may have been meant to be, to end a sentence; else empty.

    Args:
        key: the key.
        override: what gives it a value.
        whole: a composed config, without the override.
        loader: Hydra's config loader.
    """
    parent, _, name = key.rpartition(".")
    value = override.get_value_string()
    tuned = OmegaConf.select(whole, "tuner.name") not in (None, "none")
    if parent == "tuner" and not tuned and (near := _near(name, SEARCH, 0.5)):
        return f"; write tuner.{near}={value}, and {WITH_TUNER}"
    group = OmegaConf.select(whole, parent) if parent else None
    if isinstance(group, DictConfig):
        there = list(map(str, group))
        if near := _near(name, there, 0.4):
            return f"; did you mean {parent}.{near}?"
        return f"; there are {', '.join(f'{parent}.{each}' for each in there)}"
    groups = list(all_groups(whole, loader))
    named = sorted((g for g in groups if g.endswith(f"/{key}")), key=_is_hydras)
    if meant := named[0] if named else SETTINGS.get(key, ""):
        needs = f", and {WITH_TUNER}" if meant.startswith("tuner") and not tuned else ""
        return f"; write {meant}={value}{needs}"
    own = [str(each) for each in whole if each not in ROOT_KEYS]
    if near := next((each for each in own if _is_another_word(key, each)), None):
        return f"; did you mean {near}? +{key}=… adds a new one"
    near = _near(key, [*groups, *_keys(whole)])
    return f"; did you mean {near}?" if near else ""


def _is_hydras(group: str) -> bool:
    return group.startswith("hydra/")


def _near(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)), None)


def _is_another_word(key: str, name: str) -> bool:
    """Whether two names may mean the same: learning_rate and lr, num_epochs and epochs."""
    one, other = (re.split("[_-]", each.lower()) for each in (key, name))
    initials = ("".join(word[:1] for word in words) for words in (one, other))
    return (
        one == other
        or (len(one) > 1 and next(initials) == name)
        or (len(other) > 1 and list(initials)[-1:] == [key])
        or set(one) < set(other)
        or set(other) < set(one)
    )


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key of a config, dotted."""
    for key in map(str, cfg):
        yield f"{prefix}{key}"
        if not OmegaConf.is_missing(cfg, key) and not OmegaConf.is_interpolation(cfg, key):
            child = cfg[key]
            if isinstance(child, DictConfig):
                yield from _keys(child, f"{prefix}{key}.")


def option_hint(override: Override, whole: DictConfig, loader: ConfigLoader) -> str:
    """How an option of a group is chosen that was given as the value of a key; else empty.

    Args:
        override: what gives the key a value.
        whole: a composed config, without the override.
        loader: Hydra's config loader.
    """
    key, value = override.key_or_group, plain(override.value())
    group = key.replace(".", "/")
    if "." not in key or not isinstance(value, str) or group not in all_groups(whole, loader):
        return ""
    options = options_of(group, whole, loader)
    is_there = value in options
    of = "" if is_there else f", which is one of {', '.join(options)}"
    tuned = not key.startswith("tuner.") or OmegaConf.select(whole, "tuner.name") != "none"
    write = f"{group}={value}" if is_there else f"{group}=…"
    return (
        f": an option is chosen with a /: write {write}{of}{'' if tuned else f', and {WITH_TUNER}'}"
    )


def word_hint(word: str, program: str = "explr") -> str:
    """What to write in place of a word that sets nothing.

    Args:
        word: the word.
        program: how explr is called.
    """
    path = Path(word)
    if path.suffix == ".py":
        return (
            f"run a script with `python {word} KEY=VALUE`, or name its training: "
            f"train_model={word}:{' or '.join(functions_in(path)) or 'FUNCTION'}"
        )
    if path.suffix in (".yaml", ".yml"):
        return f"a file of settings is trained by `{program} run {word}`, searched by `tune`"
    if re.fullmatch(r"[\w./]+:\w+", word):
        return f"a training is named by train_model={word}"
    if path.is_dir() and path.parts:
        return f"a folder is looked at by `{program} best {word}` or `{program} report {word}`"
    return "a setting is written KEY=VALUE, without spaces"


def functions_in(file: Path) -> list[str]:
    """Names of the functions in a Python file that may be trainings; none if it cannot be read."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return []
    found = [one for one in body if isinstance(one, ast.FunctionDef) and one.name[0] != "_"]
    return [one.name for one in found if len(one.args.posonlyargs + one.args.args) == 1]


FLAGS: Mapping[str, str] = {
    "train_fn": "train_model={}",
    "resume": "explr resume FOLDER",
    "dry_run": "explr plan",
    "plan": "explr plan",
    "config": "explr run FILE, for a YAML file of settings",
    "trials": "tuner.n_trials={}",
    "jobs": "tuner.n_jobs={}",
    "workers": "tuner.n_jobs={}",
    "gpus": "CUDA_VISIBLE_DEVICES={} before the command",
}
"""What to write in place of some flags that other programs have."""


def flag_hint(flag: str, arguments: Sequence[str], flags: Iterable[str]) -> str:
    """What to write in place of a flag that does not exist.

    Args:
        flag: the flag, possibly with its value after a =.
        arguments: the command line.
        flags: the flags that there are.
    """
    name, _, value = flag.partition("=")
    at = arguments.index(flag) + 1 if flag in arguments else len(arguments)
    if not value and at < len(arguments) and not arguments[at].startswith("-"):
        value = arguments[at] if "=" not in arguments[at] else ""
    if name.startswith("--") and (near := _near(name, flags, 0.8)):
        return f"{name} is no flag: did you mean {near}?"
    key = name.lstrip("-").replace("-", "_")
    write = FLAGS.get(key) or f"{SETTINGS.get(key, key)}={{}}"
    return f"{name} is no flag: settings have no dashes, write {write.format(value or 'VALUE')}"
