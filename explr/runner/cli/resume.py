"""`explr resume`: runs the command of a sweep or a training again, in the same folder."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf

from explr.config.command_line import take_verbosity
from explr.config.grammar import quoted, word
from explr.config.nodes import SWEEPER_NODE, is_own_tree
from explr.core.config import ObjectiveConfig
from explr.core.errors import ConfigError, UsageError
from explr.core.folders import COMMAND, MULTIRUN, saved_in
from explr.core.ownership import refuse_foreign
from explr.core.secrets.masking import masked
from explr.results.begun import sweeps_begun
from explr.results.command import SweepCommand, sweep_command
from explr.results.grid import read_grid
from explr.results.single import RESUMES, RUN, refuse_ended, run_command, unfinished_runs
from explr.results.sweep import sweep_config
from explr.utils.invocation import with_override


def resume(folder: Path | None, shown: str | None = None, *, trust: bool = False) -> NoReturn:
    """Resume a sweep or a single training; its command replaces this process.

    Args:
        folder: folder of the sweep or the run; None takes the newest that began in the working
            directory, of trainings only those that were cut off.
        shown: `-q` or `-v`; None uses the flags of the original command.
        trust: run the command also if another user has written it.

    Raises:
        UsageError: there is no such sweep or run, it is another user's, or the run is not cut off.
    """
    folder = Path(os.path.abspath(folder or _last()))  # without .., which others would keep
    if (folder / RUN).exists():
        _resume_run(folder, shown, trust)
    command = sweep_command(folder)
    if command is None:
        if (folder / MULTIRUN).exists() or read_grid(folder) is not None:
            raise UsageError(
                f"{folder} is a grid, which cannot be resumed: run its command again. A sweep by "
                "hydra/sweeper=explr_optuna, or by tuner=optuna in explr's own app, can"
            )
        if saved_in(folder) is not None:
            raise UsageError(
                f"{folder} is a run whose command explr does not know, of another app, say, or a "
                f"trial, which is resumed with its sweep: run the command again with "
                f"hydra.run.dir={quoted(str(folder))}, and its checkpoints are there"
            )
        raise UsageError(f"{folder} is not the folder of a sweep or a run: it has no {COMMAND}")
    if not trust:
        refuse_foreign(folder / COMMAND, "its command would be run")
    if command.argv is None:
        raise UsageError(
            f"the sweep in {folder} was started from Python: run that code again with "
            f"tuner.study_name={command.study}"
        )
    if hidden := masked(command.argv):
        raise UsageError(
            f"the command of the sweep in {folder} had secrets, which explr does not save "
            f"({', '.join(hidden)}): run the command again with tuner.study_name="
            f"{command.study}. A secret from an environment variable, as in "
            f"{hidden[0]}='${{oc.env:NAME}}', would not need this"
        )
    if shown is not None and not is_own_tree(sweep_config(folder)):
        raise UsageError(f"{shown} is a flag of explr's own apps: leave it out")
    more = [*kept_direction(folder, command.argv), *latest_total(folder, command.argv)]
    _run_again(command, folder, ("sweep", "hydra.sweep.dir"), shown, more)


def _resume_run(folder: Path, shown: str | None, trust: bool) -> NoReturn:
    """Resume a single training from its last checkpoint; see `resume`."""
    if not trust:
        refuse_foreign(folder / RUN, "its command would be run")
    refuse_ended(folder)
    command = run_command(folder)
    assert command is not None
    if hidden := masked(command.argv or ()):
        raise UsageError(
            f"the command of the training in {folder} had secrets, which explr does not save "
            f"({', '.join(hidden)}): run the command again with "
            f"{RESUMES}={shlex.quote(str(folder))} before it and "
            f"hydra.run.dir={quoted(str(folder))} after it"
        )
    os.environ[RESUMES] = str(folder.resolve())
    _run_again(command, folder, ("training", "hydra.run.dir"), shown)


def _run_again(
    command: SweepCommand,
    folder: Path,
    kind: tuple[str, str],
    shown: str | None,
    more: Sequence[str] = (),
) -> NoReturn:
    """Run a command again, in place of this process.

    Args:
        command: the command.
        folder: where it writes.
        kind: what it is, and the setting of its folder.
        shown: `-q` or `-v`; None uses the flags of the command.
        more: further overrides.
    """
    what, setting = kind
    words = ["python", *(command.argv or ())]
    for override in (f"{setting}={quoted(str(folder))}", *more):
        words = with_override(words, override)
    command = replace(command, argv=words[1:])
    typed = f"go to the folder of its project, and type: {command}"
    if command.is_lost:
        raise UsageError(
            f"the {what} in {folder} began in {command.cwd}, and it cannot be told where its "
            f"project is now: {typed}"
        )
    words = _runnable(command, typed)
    if command.moved_from is not None:
        print(f"this {what} began in {command.moved_from} and resumes in {command.cwd}", flush=True)
    os.chdir(command.cwd)
    if shown is not None:
        words = [*take_verbosity(words)[0], shown]
    if "-q" not in words:
        print(f"in {command.cwd}: {shlex.join(words)}", flush=True)
    os.execv(words[0], words)


def kept_direction(folder: Path, words: Sequence[str]) -> Iterator[str]:
    """The direction of a sweep by an older explr, where its command would now have another one.

    Args:
        folder: folder of the sweep.
        words: its command.
    """
    config = sweep_config(folder)
    node = "objective" if is_own_tree(config) else SWEEPER_NODE
    metric, before = (_plain(config, f"{node}.{key}") for key in ("metric", "direction"))
    key = f"{node}.direction="
    if before is None or any(text.lstrip("+").startswith(key) for text in words):
        return
    try:
        unchanged = before == ObjectiveConfig(metric).settled
    except ConfigError:
        unchanged = False
    if not unchanged:
        yield f"{key}{word(before)}"


def latest_total(folder: Path, words: Sequence[str]) -> Iterator[str]:
    """The number of trials by the latest command of a sweep, if its first one had another number.

    Args:
        folder: folder of the sweep.
        words: its first command.
    """
    config = sweep_config(folder)
    key = "tuner.n_trials" if is_own_tree(config) else f"{SWEEPER_NODE}.n_trials"
    total = _plain(config, key)
    typed = [word for word in words if word.startswith(f"{key}=")]
    if typed and isinstance(total, int) and typed[-1] != f"{key}={total}":
        yield f"{key}={total}"


def _plain(config: DictConfig, key: str) -> Any:
    node = OmegaConf.select(config, key, throw_on_resolution_failure=False)
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node


def _runnable(command: SweepCommand, typed: str) -> list[str]:
    """The interpreter and the arguments that run a command again.

    Args:
        command: the command.
        typed: what to type where this cannot be told.

    Raises:
        UsageError: its program is gone.
    """
    argv = list(command.argv or ())
    python = command.python if command.python and Path(command.python).exists() else None
    if command.call.is_explr:  # perhaps of an environment that is gone
        python = sys.executable
        if Path(argv[0]).name == "explr":
            argv[:1] = [sys.argv[0]] if Path(sys.argv[0]).name == "explr" else ["-m", "explr"]
    elif not argv[0].startswith("-") and not Path(command.cwd, argv[0]).exists():
        script = Path(sys.executable).with_name(Path(argv[0]).name)  # a console script
        if script.suffix or not script.exists():
            raise UsageError(f"there is no {argv[0]} in {command.cwd}: {typed}")
        python, argv[0] = sys.executable, str(script)
    return [python or sys.executable, *argv]


def _last() -> Path:
    """The sweep, or the training that was cut off, that began last in the working directory.

    Sweeps are found wherever they are written, trainings below `outputs`.

    Raises:
        UsageError: there is none.
    """
    here = Path.cwd()
    known = list(sweeps_begun())
    own = [folder for folder in known if _begun_in(folder) == here]
    below = [file.parent.absolute() for file in Path("multirun").rglob(COMMAND)]
    files = {folder / COMMAND for folder in (*own, *below)}
    files |= {file.absolute() for file in unfinished_runs(Path("outputs"))}
    if files:
        return max(files, key=lambda file: file.stat().st_mtime_ns).parent
    newest = shlex.join(["explr", "resume", str(known[0])]) if known else ""
    elsewhere = f"; the newest of all is resumed by `{newest}`" if newest else ""
    raise UsageError(f"no sweep has begun in {here}, and no training there was cut off{elsewhere}")


def _begun_in(folder: Path) -> Path | None:
    """The working directory of a sweep; None if its command cannot be read."""
    try:
        command = sweep_command(folder)
    except (UsageError, OSError):
        return None
    return command.cwd if command is not None else None
