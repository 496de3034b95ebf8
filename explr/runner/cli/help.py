"""`explr --help`: subcommands and the config tree on one screen."""

from __future__ import annotations

import shutil
import textwrap
from argparse import Namespace
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from explr.config.compose import compose_with, hydra_app
from explr.config.hydra_private import Hydra
from explr.core.config import ROOT_KEYS

COMMANDS = """\
  explr init [DIR]                        create a project that runs right away
  explr run CONFIG.yaml --train-fn M:F    train once from a plain YAML file
  explr tune CONFIG.yaml --train-fn M:F   tune over the ranges in such a file
  explr plan [-m] [KEY=VALUE …]           compose and check a run without running it
  explr resume DIR | --last               resume an interrupted sweep or training
  explr list [--all]                      list sweeps and runs: state, best value, age
  explr best DIR                          print a sweep's best trial, register its model
  explr report DIR                        write a report of a sweep: one HTML page
  explr compare RUN RUN…                  compare runs: folders, MLflow run ids, best:DIR
  explr dashboard DIR                     serve optuna-dashboard for a sweep
  explr mlflow-ui                         start the MLflow server if needed, print its address
  explr sync                              upload to MLflow what has not been uploaded yet
  explr gpu-info                          show the GPUs and their driver
  explr memory [--limit GIB]              show the GPU memory budget, save your own default
  explr verify [KEY=VALUE …]              check driver, frameworks, MLflow, Ray, folders
  explr completion bash | zsh | fish      print the tab completion script of a shell
  explr SUBCOMMAND --help                 show the options of a subcommand
"""


def show_help(args: Namespace, program: str) -> int:
    """Print the help of the app, for the config composed from the overrides.

    Args:
        args: the command line, parsed by `parse_arguments`.
        program: name of the command, as the user called it.

    Returns:
        The exit code.

    Raises:
        HydraException, OmegaConfBaseException: an override cannot be applied.
    """
    with hydra_app(args.config_dir) as app:
        cfg = compose_with(app, args.overrides, args.config_name, args.multirun)
        print("\n".join((_usage(program), *_groups(app, cfg), *_hyperparameters(cfg))))
        print("\n".join(_settings(cfg)))
    return 0


def _usage(program: str) -> str:
    lines = {
        f"{program} [KEY=VALUE …]": "train once",
        f"{program} -m [KEY=VALUE …]": "sweep: a grid, or a search with tuner=optuna or tuner=ray",
    }
    shown = {
        "-q, --quiet": "show only warnings, errors and the result",
        "-v, --verbose": "show everything that is logged",
    }
    flags = {f"{program} {flag} …": text for flag, text in shown.items()}
    hydra = {f"{program} --hydra-help": "Hydra's own flags (--cfg, --info, tab completion, …)"}
    width = max(38, *map(len, (*lines, *flags, *hydra)))
    own = COMMANDS if program == "explr" else ""
    return (
        "Train and tune deep-learning models from one function.\n\nUsage:\n"
        + "".join(f"  {left:<{width}}  {right}\n" for left, right in (lines | flags).items())
        + own
        + "".join(f"  {left:<{width}}  {right}\n" for left, right in hydra.items())
    )


def _groups(app: Hydra, cfg: DictConfig) -> Iterator[str]:
    yield "Config groups (GROUP=OPTION, * marks the chosen option):"
    choices = cfg.hydra.runtime.choices
    for group in sorted(app.list_all_config_groups()):
        if group.partition("/")[0] in ("hydra", "explr"):
            continue
        yield f"  {group}"
        for option in sorted(app.config_loader.get_group_options(group)):
            mark = "*" if _chosen(choices, group) == option else " "
            yield _row(f"  {mark} {option}", _comments(group, option).get("", ""), 22)
    yield ""


def _chosen(choices: Mapping[str, Any], group: str) -> Any:
    return next((v for k, v in choices.items() if k.partition("@")[0] == group), None)


def _hyperparameters(cfg: DictConfig) -> Iterator[str]:
    yield "Hyperparameters (KEY=VALUE; add a new one with +KEY=VALUE):"
    space = str(_chosen(cfg.hydra.runtime.choices, "search_space"))
    comments = _comments("search_space", space)
    if "- default" in _text("search_space", space):
        comments = _comments("search_space", "default") | comments
    ranges = cfg.search_space or {}
    for key in map(str, cfg):
        if key not in ROOT_KEYS:
            about = comments.get(key) or str(ranges.get(key, ""))
            yield _row(f"    {key}={_plain(cfg, key)}", about, 26)
    yield ""


def _settings(cfg: DictConfig) -> Iterator[str]:
    yield "Settings (KEY=VALUE):"
    words = []
    for key in sorted(ROOT_KEYS - {"hydra", "search_space"}):
        if OmegaConf.is_dict(cfg[key]):
            words += [f"{key}.{name}={_plain(cfg[key], str(name))}" for name in cfg[key]]
        else:
            words.append(f"{key}={_plain(cfg, key)}")
    for word in words:
        yield f"    {word}"


def _plain(node: DictConfig, key: str) -> str:
    """A value as it is written on the command line."""
    if OmegaConf.is_missing(node, key):
        return "???"
    value = node[key]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(getattr(value, "name", value))


def _row(left: str, right: str, width: int) -> str:
    if not right:
        return left
    columns = shutil.get_terminal_size((100, 24)).columns
    indent = " " * (width + 2)
    return textwrap.fill(
        right,
        max(columns, width + 30),
        initial_indent=f"{left:<{width}}  ",
        subsequent_indent=indent,
    )


def _comments(group: str, option: str) -> dict[str, str]:
    """The comment above each key of a config file; the key "" holds the file's first comment."""
    text = _text(group, option)
    comments: dict[str, str] = {}
    above: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            if "@package" not in line:
                above.append(line.lstrip("# "))
        else:
            key = line.partition(":")[0]
            if above and not line.strip():
                comments.setdefault("", " ".join(above))
            elif above:
                name = "" if key == "defaults" or "" not in comments else key
                comments.setdefault(name, " ".join(above))
            above = []
    return comments


def _text(group: str, option: str) -> str:
    packaged = files("explr.conf").joinpath(*group.split("/"), f"{option}.yaml")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    own = Path("conf", *group.split("/"), f"{option}.yaml")
    return own.read_text(encoding="utf-8") if own.is_file() else ""
