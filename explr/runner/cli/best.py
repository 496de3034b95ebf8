"""`explr best`: prints a sweep's best trial, writes its settings, registers its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from omegaconf import OmegaConf

from explr.config.nodes import is_own_tree
from explr.config.omegaconf_private import to_yaml
from explr.config.saved import saved_run
from explr.core.errors import TrackingError, UsageError
from explr.core.folders import BestTrial, saved_in
from explr.core.secrets.masking import masked_keys
from explr.core.secrets.shapes import without_user_info
from explr.results.best import best_in
from explr.results.command import sweep_command
from explr.results.retrain import retrain_command
from explr.results.sweep import sweep_config
from explr.results.table import Column, FittedTable, Row, continued, hanging, show
from explr.tracking.destination import Destination, absolute_uri, with_user_info
from explr.tracking.journal.journal import journals_in
from explr.tracking.mlflow.registry import ALIAS, describe
from explr.tracking.shipping.run_ids import position_of_run
from explr.tracking.shipping.sink import Refused, SinkUnavailable
from explr.tracking.shipping.sinks import sink_for

NOT_IN_EXPERIMENT = frozenset({"tracking", "tuner", "search_space", "hydra"})
"""Settings that an experiment config does not fix."""


def show_best(folder: Path, out: Path | None, register_as: str | None) -> None:
    """Print the best trial of a sweep; write its settings and register its model on request.

    Args:
        folder: folder of the sweep.
        out: file for an experiment config with its settings; None writes none.
        register_as: name to register its model under; None registers none.

    Raises:
        UsageError: there is no sweep, no trial is complete, or the best trial has no model.
        TrackingError: MLflow cannot register the model.
    """
    best = best_in(folder)
    found = f"trial {best.number} of {best.trials}: {best.metric} {best.value:.6g}"
    click.echo("\n".join(map(hanging, [found, *best.note.splitlines()])))
    rows = [Row(["", name, str(value)]) for name, value in best.params.items()]
    show(FittedTable([Column(""), Column("", left=True), Column("", left=True)], rows, False))
    click.echo(hanging(f"folder: {best.folder}"))
    if best.model is not None:
        click.echo(hanging(f"model: {best.model}"))
    position = position_of_run(best.folder)
    if run_id := position.run_id if position else best.run_id:
        click.echo(f"MLflow run: {run_id}")
    again = retrain_command(folder, best.folder, best.params)
    click.echo(continued(f"to train it again: {again}"))
    if out is not None:
        _write_experiment(folder, best, out)
    if register_as is not None:
        _register(folder, best, register_as)


def _write_experiment(folder: Path, best: BestTrial, out: Path) -> None:
    """Write the trial's settings as an experiment config, an option of the group `experiment`."""
    whole: Any = sweep_config(folder)
    if not whole and (files := saved_in(best.folder)) is not None:
        whole = OmegaConf.load(files / "hydra.yaml")
    if whole and not is_own_tree(whole):
        raise UsageError(
            f"--out writes an experiment config of explr's, and {best.folder} is a run of another "
            "Hydra app: the command that trains it again has its settings"
        )
    saved = OmegaConf.load(saved_run(str(best.folder)) / "config.yaml")
    config = OmegaConf.to_container(saved, resolve=False)
    assert isinstance(config, dict)
    kept = {str(key): value for key, value in config.items() if key not in NOT_IN_EXPERIMENT}
    framework = config["framework"]["name"]
    content: dict[str, Any] = {"defaults": [{"override /framework": framework}, "_self_"], **kept}
    about = f"# {best.metric} {best.value:.6g} in trial {best.number} of {best.folder.parent}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(f"# @package _global_\n{about}\n{to_yaml(content)}", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    click.echo(f"experiment config: {out}")
    if hidden := masked_keys(kept):
        click.echo(f"secrets are left out: {', '.join(hidden)}", err=True)


def _register(folder: Path, best: BestTrial, name: str) -> None:
    runs = journals_in(best.folder)
    if best.model is None or not best.model.exists():
        raise UsageError(
            f"trial {best.number} has no model: its training saved none, or the file was deleted"
        )
    if not runs:
        raise UsageError(
            f"trial {best.number} was not tracked, so there is no run to register its model from"
        )
    position = position_of_run(best.folder)
    if position is None:
        raise TrackingError(
            f"the run of {best.model} is not in MLflow yet: `explr sync` uploads it"
        )
    sink = sink_for(_store(folder))
    try:
        sink.connect()
        version = sink.register(position.run_id, best.model, name, describe(best))
    except (Refused, SinkUnavailable) as error:
        raise TrackingError(f"{name} is not registered: {error}") from error
    click.echo(f"registered: {name} version {version}, alias {ALIAS}")


def _store(folder: Path) -> str:
    """Tracking URI of the sweep."""
    config = sweep_config(folder)
    own = not config or is_own_tree(config)
    name = "tracking.uri" if own else "hydra.callbacks.explr_mlflow.uri"
    node = OmegaConf.select(config, name)
    if not node:
        return Destination().resolved_uri
    command = sweep_command(folder)
    cwd = command.cwd if command else Path()  # a grid has no command
    return with_user_info(without_user_info(absolute_uri(str(node), cwd)))
