"""The command that trains the best trial of a sweep again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.command_line import take_verbosity
from explr.config.grammar import quoted, word
from explr.config.nodes import RAY_SWEEPER, SWEEPER, SWEEPER_NODE, is_own_tree, overrides_of
from explr.config.saved import saved_overrides
from explr.config.settings_file import FILE_OVERLAY, SCRIPT_SPACE
from explr.core.config import ROOT_KEYS
from explr.core.folders import JOB, read_json, saved_in
from explr.results.command import sweep_command
from explr.results.sweep import started_by, sweep_config
from explr.utils.invocation import in_folder

OF_SWEEPS = re.compile(r"[+~]*(hydra[./](sweep|sweeper|launcher|mode|run|job\.(num|id)))\b")
"""Overrides of Hydra that matter to sweeps only, or to the folder of a run."""

OF_SEARCH = re.compile(r"[+~]*tuner\b")
"""Overrides of explr's own tree that matter to sweeps only."""

MULTIRUN = ("-m", "--multirun")


def retrain_command(folder: Path, run: Path, params: Mapping[str, Any]) -> str:
    """The command, or the Python code, that trains a trial of a sweep again.

    It is the command of the sweep, with the values of the trial in place of its ranges and without
    what only concerns the sweep.

    Args:
        folder: folder of the sweep.
        run: folder of the trial's run.
        params: values of the trial by parameter.
    """
    command, config = started_by(folder), sweep_config(folder)
    trial = saved_overrides(str(run)) if saved_in(run) else _of_sweep(folder, run, config, params)
    if not trial:
        return "not possible: hydra.output_subdir=null, so it has saved no settings"
    own = not config or is_own_tree(config)
    searched = _names([*params, *_params(config)])
    if command is not None and command.argv is None:
        given = [text for text in trial if not _is_of_sweep(text, own) and text != SCRIPT_SPACE]
        given = _chosen(given, searched, config)
        if own and SCRIPT_SPACE in trial and (saved := saved_in(run)) is not None:
            values = _hyperparameters_of(saved)
            given = [text for text in given if re.split("[.=]", _name(text))[0] not in values]
            return f"explr.run(explr.compose({given}, {values}), train_model)"
        if own:
            return f"explr.run(explr.compose({given}), train_model)"
        return f"the app's own Python code, with {shlex.join(given)}"
    call = command.call if command is not None else None
    program = list(call.program) if call is not None else ["explr"]
    if FILE_OVERLAY in trial:  # the settings of the file are saved in the trial's folder
        again = quoted(str(run / "again"))
        words = [*program, "--experimental-rerun", str(run), f"hydra.run.dir={again}"]
    else:
        line = command.line if command is not None else None
        words = [*program, *again_of(line, trial, searched, config)]
    if command is None or command.is_lost:
        return in_folder(Path.cwd(), words)
    return in_folder(command.cwd, list(map(command.here, words)))


def _hyperparameters_of(saved: Path) -> dict[str, Any]:
    """The hyperparameters of a run of explr's own tree, from what Hydra saved of it."""
    content = _plain(OmegaConf.load(saved / "config.yaml"))
    return {str(key): value for key, value in content.items() if key not in ROOT_KEYS}


def again_of(
    line: Sequence[str] | None, trial: Sequence[str], searched: set[str], config: DictConfig
) -> list[str]:
    """The arguments that train a trial again.

    Args:
        line: the arguments of the sweep, as they were typed; None if they are not known.
        trial: the overrides of the trial.
        searched: names of the parameters that the sweep gives a value.
        config: composed config of the sweep; empty if it was not saved.
    """
    own = not config or is_own_tree(config)
    hydras = overrides_of(config, "hydra")
    if line is None:
        line = [*_chosen(trial, searched, config), *hydras]
    elif own:
        line = take_verbosity(line)[0]
    left = [text for text in trial if not _is_of_sweep(text, own)]
    known = _names([*trial, *hydras, *overrides_of(config, "task")])
    needed = _sweeper_needed(config, hydras)
    words: list[str] = []
    first: int | None = None
    for text in line:
        name = _name(text)
        of_hydra = name.startswith(("hydra.", "hydra/"))
        if not of_hydra and not (name in known and ("=" in text or text.startswith("~"))):
            words += [text] if text not in MULTIRUN else []
            continue
        first = len(words) if first is None else first
        if of_hydra:
            words += [text] if text == needed or not OF_SWEEPS.match(text) else []
        elif (value := _taken(left, text)) is not None:
            words.append(value)
    rest = [text for text in left if _name(text) in searched]  # what has its range in the config
    at = len(words) if first is None else first
    words[at:at] = rest
    mode = OmegaConf.select(config, "hydra.mode")
    if mode == "MULTIRUN" and "hydra.mode=MULTIRUN" not in hydras:  # the config sweeps without -m
        words.append("hydra.mode=RUN")
    return words


def _sweeper_needed(config: DictConfig, hydras: Sequence[str]) -> str | None:
    """The choice of explr's sweeper, if the app's own config is written for another one.

    Hydra composes the other one's node for a single run, too, and need not have it installed.
    """
    choice = OmegaConf.select(config, "hydra.runtime.choices.hydra/sweeper")
    nodes = {"explr_optuna": SWEEPER, "explr_ray": RAY_SWEEPER}
    node = OmegaConf.select(config, SWEEPER_NODE)
    if choice not in nodes or not OmegaConf.is_dict(node):
        return None
    typed = {_name(text).replace("/", ".").removeprefix(f"{SWEEPER_NODE}.") for text in hydras}
    left = {key.partition(".")[0] for key in typed}
    default, settings = map(_plain, (OmegaConf.create(nodes[choice]), node))
    configured = any(settings[key] != default.get(key) for key in settings.keys() - left)
    return f"hydra/sweeper={choice}" if configured else None


def _plain(node: Any) -> dict[Any, Any]:
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    return plain


def _taken(left: list[str], text: str) -> str | None:
    """Take out of the overrides of a trial the one that stands for one of the sweep."""
    same = [each for each in left if _name(each) == _name(text)]
    key = text.partition("=")[0]
    found = next((each for each in same if each.partition("=")[0] == key), next(iter(same), None))
    if found is not None:
        left.remove(found)
    return found


def _chosen(trial: Sequence[str], searched: set[str], config: DictConfig) -> list[str]:
    """The overrides of a trial without those that explr has set for this trial alone."""
    if not config:
        return list(trial)
    given = set(overrides_of(config, "task"))
    return [text for text in trial if text in given or _name(text) in searched]


def _is_of_sweep(text: str, own: bool) -> bool:
    return bool(OF_SWEEPS.match(text)) or (own and bool(OF_SEARCH.match(text)))


def _name(text: str) -> str:
    """The name of what an override is about."""
    return text.partition("=")[0].lstrip("+~")


def _names(texts: Iterable[str]) -> set[str]:
    return set(map(_name, texts))


def _params(config: DictConfig) -> Iterator[str]:
    """What the config of a sweep gives ranges and values for, and the mappings around it."""
    node = OmegaConf.select(config, f"{SWEEPER_NODE}.params")
    if OmegaConf.is_dict(node):
        yield from _keys(OmegaConf.to_container(node, resolve=False))  # type: ignore[arg-type]


def _keys(node: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")


def _of_sweep(folder: Path, run: Path, config: DictConfig, params: Mapping[str, Any]) -> list[str]:
    """The overrides of a trial that has saved none: those of its sweep, with its parameters.

    Empty for a grid of explr's, of which only the trial could tell what it searched.
    """
    if sweep_command(folder) is None:
        return list((read_json(run / JOB) or {}).get("overrides", ()))
    given = overrides_of(config, "task")
    spelled = {_name(text): text.partition("=")[0] for text in given}
    values = [f"{spelled.get(name, name)}={word(value)}" for name, value in params.items()]
    return [*values, *(text for text in given if _name(text) not in params)]
