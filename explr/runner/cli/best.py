"""`explr best`: what a sweep has found, how to train it again, and where its model goes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from explr.config.saved import saved_overrides, saved_run
from explr.config.settings_file import FILE_OVERLAY
from explr.core.errors import TrackingError, UsageError
from explr.core.folders import RESULTS, BestTrial, best_trial, read_json
from explr.core.secrets import masked_keys, without_user_info
from explr.results.sweep import sweep_command
from explr.tracking.destination import Destination, absolute_uri, with_user_info
from explr.tracking.journal.journal import journals_in
from explr.tracking.mlflow.registry import ALIAS, describe, register
from explr.tracking.mlflow.store import connect, out_of_reach

NOT_IN_A_RECIPE = frozenset({"tracking", "tuner", "search_space", "hydra"})
"""What a recipe leaves to whoever runs it."""


def show_best(folder: Path, out: Path | None, register_as: str | None) -> None:
    """Print the best trial of a sweep, and keep it if that is wanted.

    Args:
        folder: folder of the sweep.
        out: a file to write an experiment recipe to.
        register_as: name to register its model under.

    Raises:
        UsageError: there is no sweep, none of its trials is complete, or it has no model.
        TrackingError: MLflow cannot register it.
    """
    best = best_trial(folder)
    if best is None:
        raise UsageError(f"no trial below {folder} is complete, or several objectives rule it out")
    click.echo(f"trial {best.number} of {best.trials}: {best.metric} {best.value:.6g}")
    width = max((len(name) for name in best.params), default=0)
    for name, value in best.params.items():
        click.echo(f"  {name:{width}}  {value}")
    click.echo(f"folder: {best.folder}")
    if best.model is not None:
        click.echo(f"model: {best.model}")
    click.echo(f"to train it again: {_again(folder, best)}")
    if out is not None:
        _write_recipe(best, out)
    if register_as is not None:
        _register(folder, best, register_as)


def _again(folder: Path, best: BestTrial) -> str:
    overrides = saved_overrides(str(best.folder))
    program = _program(folder)
    if FILE_OVERLAY in overrides:  # what the file said is in the trial's own folder
        again = f"hydra.run.dir={best.folder / 'again'}"
        return shlex.join([*program, "--experimental-rerun", str(best.folder), again])
    own = ("tuner", "hydra", "+hydra", "++hydra", "search_space=script")
    return shlex.join([*program, *(text for text in overrides if not text.startswith(own))])


def _program(folder: Path) -> list[str]:
    """How the command of the sweep was called."""
    results = read_json(folder / RESULTS)
    if results is None:  # a grid
        return ["explr"]
    words = shlex.split(results["command"])
    return words[:2] if words[0] == "python" else words[:1]


def _write_recipe(best: BestTrial, out: Path) -> None:
    """Write the trial's settings as an option of the group `experiment`."""
    config = _config(best)
    kept = {key: value for key, value in config.items() if key not in NOT_IN_A_RECIPE}
    framework = config["framework"]["name"]
    recipe: dict[str, Any] = {"defaults": [{"override /framework": framework}, "_self_"], **kept}
    about = f"# {best.metric} {best.value:.6g} in trial {best.number} of {best.folder.parent}"
    text = yaml.dump(recipe, sort_keys=False, allow_unicode=True, Dumper=get_omega_conf_dumper())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(f"# @package _global_\n{about}\n{text}", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    click.echo(f"recipe: {out}")
    if hidden := masked_keys(kept):
        click.echo(f"not in it, since they are secrets: {', '.join(hidden)}", err=True)


def _register(folder: Path, best: BestTrial, name: str) -> None:
    runs = journals_in(best.folder)
    if best.model is None or not best.model.exists():
        raise UsageError(
            f"trial {best.number} has no model: its training saved none, or it is gone"
        )
    if not runs:
        raise UsageError(
            f"trial {best.number} was not tracked: there is no run to register it from"
        )
    uri = _store(folder, best)
    try:
        version = register(connect(uri), name, best.model, runs[-1], describe(best))
    except TrackingError:
        raise
    except Exception as error:  # databases and MLflow raise their own
        raise TrackingError(f"{name} is not registered: {out_of_reach(uri, error)}") from error
    click.echo(f"registered: {name} version {version}, alias {ALIAS}")


def _store(folder: Path, best: BestTrial) -> str:
    """Tracking URI that the sweep went to."""
    node = OmegaConf.select(OmegaConf.create(_config(best)), "tracking.uri")
    if not node:
        return Destination().resolved_uri
    command = sweep_command(folder)
    cwd = command.cwd if command else Path()  # a grid has no command
    return with_user_info(without_user_info(absolute_uri(str(node), cwd)))


def _config(best: BestTrial) -> dict[str, Any]:
    config = OmegaConf.load(saved_run(str(best.folder)) / "config.yaml")
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
