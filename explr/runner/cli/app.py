"""The Hydra application that `explr` and a user's own script run.

Modules that only a training needs are imported when it starts, so that `--help` is fast.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import DictConfig

from explr.config.command_line import (
    parse_arguments,
    program,
    sweeps_trials,
    take_plan,
    take_verbosity,
    version_line,
)
from explr.config.compose import CONFIG_NAME, TRUSTED, hydra_app, hydra_config
from explr.config.grammar import literal, quoted
from explr.config.hydra_versions import HAS_WHITELIST, command, flags_first
from explr.config.importing import make_importable, refuse_in_import
from explr.config.messages import INTERRUPTED, report_fault
from explr.config.nodes import CONFIG_TREE
from explr.config.saved import saved_overrides
from explr.config.settings_file import SCRIPT_SPACE, restore, store_script_space
from explr.config.target import check_train_function, spell_target
from explr.core.errors import ConfigError, UsageError
from explr.core.folders import common_folder
from explr.core.secrets.command_line import hide_command_line
from explr.core.secrets.logs import guard_logs
from explr.core.secrets.masking import remember_arguments
from explr.core.signals import terminable
from explr.runner.grid_tally import Trials, gathering
from explr.utils import console
from explr.utils.console import escape_unprintable, open_closed_streams, outlive_readers
from explr.utils.gc import postpone_collection, resume_collection

if TYPE_CHECKING:
    from explr.core.protocols import TrainFunction


def main(
    train_model: TrainFunction,
    *overrides: str,
    hyperparameters: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Turn a script into the full command line: `python my_script.py lr=0.01`.

    Args:
        train_model: the script's training function, at the top level of its module.
        overrides: settings in Hydra's grammar; the command line overrides them.
        hyperparameters: the script's hyperparameters by name: a default, or a range that a tuner
            searches with `-m` (`explr.interval`, `explr.range`, `explr.choice`). They replace those
            of the default search space; the command line overrides both.

    Raises:
        SystemExit: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
        TargetError: the script calls it when it is imported.
    """
    refuse_in_import("explr.main")
    given = list(overrides)
    try:
        check_train_function(train_model, getattr(train_model, "__qualname__", repr(train_model)))
        target = spell_target(train_model).replace("${", r"\${")  # of a folder's name
        given.append(f"train_model={literal(target)}")
        if hyperparameters is not None:
            store_script_space(hyperparameters)
            given.append(SCRIPT_SPACE)
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        sys.exit(report_fault(error))
    sys.exit(run_command_line(sys.argv[1:], given))


def run_command_line(arguments: Sequence[str], defaults: Sequence[str] = ()) -> int:
    """Run Hydra's command line over explr's config tree.

    Args:
        arguments: overrides, Hydra's own flags, and `-q` or `-v`.
        defaults: overrides with lower priority than `arguments`; a rerun ignores them.

    Returns:
        The exit code.
    """
    postpone_collection()
    open_closed_streams()
    escape_unprintable()
    outlive_readers()
    line = [*defaults, *arguments]
    sweeps = False
    guard_logs()
    remember_arguments(line)
    hide_command_line()
    try:
        with terminable(), _errors_passed_on():
            if "--version" in arguments:
                print(version_line())
                return 0
            if "LOCAL_RANK" in os.environ:  # else no import is needed to know
                from explr.runner.reporting import refuse_relaunch

                refuse_relaunch()
            arguments, chosen = take_verbosity(arguments)
            arguments, samples = take_plan(arguments)
            if samples is not None:
                from explr.runner.cli.plan import show_plan

                return show_plan([*defaults, *arguments], samples)
            console.set_verbosity(chosen)
            line = [*defaults, *arguments]
            args = parse_arguments(line)
            if "${" in str(Path.cwd()):
                raise UsageError(
                    f"Hydra takes ${{ in the name of the working directory {Path.cwd()} for an "
                    "interpolation: work in another one"
                )
            if args.help:
                from explr.runner.cli.help import show_help

                return show_help(args, program())
            make_importable(Path.cwd())
            if args.experimental_rerun is not None:
                restore(args.experimental_rerun, args.overrides)
                line = list(arguments)
                if not HAS_WHITELIST:  # Hydra 1.3 reads a pickle, which nothing writes
                    folder = args.experimental_rerun
                    place = f"hydra.run.dir={quoted(str(Path(folder)))}"
                    line = [*saved_overrides(folder), place, *args.overrides]
                    args.overrides = line
            sweeps = sweeps_trials(args)
            return (_sweep if sweeps else _start)(line, args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - reported, with its exit code
        from explr.config.diagnosis import diagnose
        from explr.runner.prepare import prepare
        from explr.sweep.preflight import check_trial

        check = partial(check_trial, check=prepare) if sweeps else prepare
        return report_fault(diagnose(error, line, check))
    finally:
        resume_collection()


def _start(line: Sequence[str], args: Namespace) -> int:
    if args.cfg or args.info or args.hydra_help or args.shell_completion:
        _run_app(_no_job, line, args)
        return 0
    from explr.runner.reporting import apart_from_trial
    from explr.runner.task import train_job

    if not sweeps_trials(args):
        _check_types(args)
    with apart_from_trial():  # a trial may have started this command
        _run_app(train_job, line, args)
    return 0


def _run_app(task: Callable[[DictConfig], Any], line: Sequence[str], args: Namespace) -> None:
    sys.argv[1:] = flags_first(line, args.overrides)
    command(task, CONFIG_TREE, CONFIG_NAME, TRUSTED)()


def _check_types(args: Namespace) -> None:
    """Check that hyperparameters are of the kind of their defaults, where one may not be.

    Raises:
        ConfigError: naming each that is not, and what else is wrong.
    """
    from explr.config.defaults import may_be_mistyped

    if args.experimental_rerun is not None or not may_be_mistyped(args.overrides):
        return
    from explr.config.diagnosis import check_types, compose_one, raise_with
    from explr.runner.prepare import prepare

    with hydra_app(args.config_dir) as app:
        try:
            check_types(app, args.overrides, args.config_name)
        except ConfigError as error:
            with hydra_config(cfg := compose_one(app, args.overrides, args.config_name)):
                raise_with(error.faults, partial(prepare, cfg))


def _no_job(cfg: DictConfig) -> None:
    """The task for flags that only print, such as `--cfg`."""


def _sweep(line: Sequence[str], args: Namespace) -> int:
    from explr.sweep.preflight import check_sweep

    if check_sweep(args):
        return _start(line, args)  # the tuner reports its trials itself
    resume_collection()
    with gathering() as trials, terminable(ctrl_c=True):
        try:
            _start(line, args)
        except Exception:
            if not trials.fruitless:
                raise  # otherwise the sweeper failed only because there is no best trial
    _tell(trials)
    return trials.exit_code()


def _tell(trials: Trials) -> None:
    """Print the result of a grid; Hydra reports trials that fail in other processes."""
    from explr.results.summary import tell_grid
    from explr.runner.task import relative

    folders = trials.folders or trials.elsewhere
    if not folders:
        return  # nobody knows where other launchers run theirs
    folder = common_folder(folders)
    tell_grid(folder, relative(folder), folders)
    if trials.folders:
        print(f"Trials: {trials}")
    print(f"Folder: {relative(folder)}")


@contextmanager
def _errors_passed_on() -> Iterator[None]:
    """Make Hydra raise errors instead of printing them, whatever the user has set."""
    chosen = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if chosen is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = chosen
