"""Every use of Hydra, and of its own plugins, that Hydra does not document.

Read in hydra-core, hydra-optuna-sweeper and hydra-ray-launcher 1.4.0rc3, and beside them in 1.3.8,
1.3.0 and 1.2.2, the last that belong to Hydra 1.3. Public is what Hydra's documentation shows and
what its own plugins import from `hydra.core`. On an upgrade this file is the one to read.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import wraps
from types import FrameType, TracebackType
from typing import Any, NoReturn

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.grammar import grammar_functions as _grammar
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra._internal.utils import get_args_parser as _get_args_parser
from hydra.core import utils as _utils
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

# `Hydra` composes and sweeps without a command line, by `compose_config`, `multirun`,
# `list_all_config_groups` and `config_loader`. `hydra.compose` composes single runs only, and never
# sweeps; `hydra.main` reads `sys.argv`. Read in 1.4.0rc3; 1.3.8 has the same.
__all__ = ["Hydra"]

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""`_target_` of Hydra's default launcher, which has no other name. The same in 1.3.8."""

WRITERS = frozenset({"hydra.core.utils", "hydra._internal.core_plugins.basic_sweeper"})
"""Modules that make output folders and write to them.

Hydra raises a plain `OSError` when it cannot write; only the traceback tells that it was Hydra.
The same in 1.3.8.
"""

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
"""`_target_` of Hydra's default sweeper, which has no other name. The same in 1.3.8."""

OPTUNA_SWEEPER_LOG = "hydra_plugins.hydra_optuna_sweeper._impl"
"""Logger of Hydra's Optuna sweeper, which is named by its module. The same in 1.3.0."""


def create_app(name: str, search_path: ConfigSearchPath) -> Hydra:
    """Make Hydra the global one, over a search path.

    `hydra.initialize_config_search_path` does so too, but sets the version base of the whole
    process, and puts a second folder before what plugins add. Read in 1.4.0rc3; 1.3.8 has the same.
    """
    return Hydra.create_main_hydra2(name, search_path)


def take_over(
    sweep: Callable[[Hydra, str | None, TaskFunction, list[str]], NoReturn],
    job: Callable[[], NoReturn],
) -> None:
    """Have Hydra call these in this process, in place of a sweep and of a single job.

    Public hooks come too late: the callbacks of the app have begun then. Read in 1.4.0rc3; 1.3.8
    has the same.

    Args:
        sweep: called with Hydra, the primary config, the task and the overrides.
        job: called without arguments.
    """

    def multirun(
        self: Hydra, config_name: str | None, task_function: TaskFunction, overrides: list[str],
        *_: Any, **__: Any,
    ) -> NoReturn:  # fmt: skip
        sweep(self, config_name, task_function, overrides)

    Hydra.multirun = multirun  # type: ignore[method-assign]
    Hydra.run = lambda *_, **__: job()  # type: ignore[method-assign]


def search_path_of(config_tree: str) -> ConfigSearchPath:
    """The search path that begins with a config tree, as the plugins leave it.

    `ConfigSearchPath` is an abstract class without a public implementation. Read in 1.4.0rc3;
    1.3.8 has the same.
    """
    return create_config_search_path(config_tree)


def args_parser() -> ArgumentParser:
    """The parser of Hydra's command line.

    Only `hydra.main` uses it, on `sys.argv`. Read in 1.4.0rc3; 1.3.8 has the same.
    """
    return _get_args_parser()


def flags() -> list[str]:
    """All flags of Hydra's command line.

    argparse has no public list of them. Read in Python 3.11.
    """
    return list(args_parser()._option_string_actions)


def complete(app: Hydra, config_name: str, line: str) -> list[str]:
    """What may stand at the end of a command line.

    The public `query` of a completion plugin takes the line from the shell's variables and prints
    what it finds. Read in 1.4.0rc3; 1.3.8 has the same.
    """
    return DefaultCompletionPlugin(app.config_loader)._query(config_name, line)


def silent_context(app: Hydra) -> HydraContext:
    """A context whose callbacks do nothing.

    `HydraContext` requires a `Callbacks`, and no public module has that class. Read in 1.4.0rc3;
    1.3.8 has the same.
    """
    return HydraContext(app.config_loader, Callbacks())


def callbacks_of(context: HydraContext) -> list[Callback]:
    """The callbacks that Hydra has built from `hydra.callbacks`.

    A sweeper gets them only as a `Callbacks`, whose list is undocumented. Read in 1.4.0rc3; 1.3.8
    has the same.
    """
    return list(context.callbacks.callbacks)


def job_name() -> str:
    """Name of the app, for `JobReturn.task_name`.

    `hydra.job.name` is no substitute: a config may override it. Read in 1.4.0rc3; 1.3.8 has the
    same.
    """
    return str(_utils.JobRuntime.instance().get("name"))


def job_environment(variables: Any) -> AbstractContextManager[None]:
    """Set the variables of `hydra.job.env_set` as long as the block runs.

    Only `run_job` calls it, which also composes and saves again. Read in 1.4.0rc3; 1.3.8 has the
    same.
    """
    context: AbstractContextManager[None] = _utils.env_override(variables)
    return context


def flush_logs() -> None:
    """Flush all log handlers.

    Neither Hydra nor `logging` has a public function for it. Read in 1.4.0rc3; 1.3.8 has the same.
    """
    _utils._flush_loggers()


def configure_trusted_logging(config: dict[str, Any], whitelist: Any) -> None:
    """Configure logging as Hydra 1.4 does for a job. Read in 1.4.0rc3; 1.3.8 has no such thing."""
    from hydra._internal.logging_config import configure_logging

    configure_logging(config, whitelist)


def load_trusted_logging() -> None:
    """Import what Hydra 1.4 imports when it configures logging for the first time.

    A process that is forked before would import it again. Read in 1.4.0rc3; 1.3.8 has no such
    thing.
    """
    import hydra._internal.logging_config  # noqa: F401


def value_of(returned: JobReturn) -> Any:
    """What a job returned, or the exception that it raised.

    The property `return_value` prints and raises the exception. Read in 1.4.0rc3; 1.3.8 has the
    same.
    """
    return returned._return_value


def shown_frame(file: str, name: str) -> FrameType:
    """A frame of another process, as far as a traceback shows it.

    Hydra 1.4 knows those that it restores itself by a name among their globals, and hides its own
    from people. Read in 1.4.0rc3; 1.3.8 does not look there.

    Args:
        file: the file of its code.
        name: the function.
    """
    code = compile("frame = current()", file, "exec").replace(co_name=name, co_qualname=name)
    known: dict[str, Any] = {"_SyntheticTraceback": None, "current": sys._getframe}
    exec(code, known)
    frame: FrameType = known["frame"]
    return frame


def below_run_job(trace: TracebackType | None) -> TracebackType | None:
    """The traceback of a job's failure as if Hydra's `run_job` had called the task.

    Hydra prints only what is below that frame. It has no other way to say where the user's code
    begins. Read in 1.4.0rc3; 1.3.8 has the same.
    """
    if trace is None:
        return None
    code = _utils.run_job.__code__
    frame = shown_frame(code.co_filename, code.co_name)
    return TracebackType(trace, frame, -1, code.co_firstlineno)


def with_value(override: Override, value: Any, line: str) -> Override:
    """An override with another value of the same kind: a text, a number, a truth value or null.

    The public way is to parse the line, which takes half a millisecond. Read in 1.4.0rc3; 1.3.8 has
    the same.

    Args:
        override: an override with such a value.
        value: the other value.
        line: how the override is written then.
    """
    return replace(override, _value=value, input_line=line)


def apply_overrides(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Apply overrides of values as Hydra does at the end of each composition.

    The public ways compose all anew. Read in 1.4.0rc3; 1.3.8 has the same.

    Args:
        config: what is composed of the options of config groups, and of earlier overrides.
        overrides: the overrides, none of which chooses or deletes an option.

    Raises:
        HydraException: one of them cannot be applied.
    """
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def admit_null() -> None:
    """Let `choice(…)` and `shuffle(…)` take null, as the plain list `a,null` does.

    Hydra checks the arguments of its functions by their annotations. Read in 1.4.0rc3; 1.3.8 has
    the same.
    """
    for function in (_grammar.choice, _grammar.shuffle):
        function.__annotations__["args"] |= None


def make_plugins_within(block: Callable[[DictConfig], AbstractContextManager[None]]) -> None:
    """Have Hydra make sweepers and launchers within a block that gets the composed config.

    Hydra calls `on_multirun_start` before, but only of callbacks that the app's config has, and
    whose class the app trusts. Read in 1.4.0rc3; 1.3.8 has the same two methods.
    """

    def within(make: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(make)
        def wrapper(
            self: Plugins,
            hydra_context: HydraContext,
            task_function: TaskFunction,
            config: DictConfig,
        ) -> Any:
            with block(config):
                return make(
                    self, hydra_context=hydra_context, task_function=task_function, config=config
                )

        return wrapper

    for name in ("instantiate_sweeper", "instantiate_launcher"):
        setattr(Plugins, name, within(getattr(Plugins, name)))


def start_on_ray(launcher: Any, config: DictConfig) -> Any:
    """Start a job of Hydra's Ray launcher, and return Ray's reference to it.

    `Launcher.launch` waits for its jobs and keeps the references, so that no job can be cancelled.
    Read in 1.4.0rc3; 1.2.2 has the same.
    """
    from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray

    return launch_job_on_ray(
        launcher.hydra_context,
        launcher.ray_cfg.remote,
        config,
        launcher.task_function,
        Singleton.get_state(),
    )
