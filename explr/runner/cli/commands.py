"""The subcommands of `explr`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from explr.config.advice import word_hint
from explr.config.command_line import SAMPLES
from explr.config.messages import INTERRUPTED, report_fault
from explr.core.errors import ExplrError
from explr.core.secrets.logs import guard_logs
from explr.utils.console import escape_unprintable, open_closed_streams

MEANT = {
    **dict.fromkeys(("train", "fit", "start"), "explr KEY=VALUE, or explr run FILE"),
    **dict.fromkeys(
        ("sweep", "search", "optimize", "hpo", "multirun"),
        "explr tuner=optuna -m 'lr=interval(0,1)', or explr tune FILE",
    ),
    **dict.fromkeys(("optuna", "ray"), "explr tuner=optuna -m or explr tuner=ray -m"),
    **dict.fromkeys(("ui", "server", "serve", "mlflow"), "explr mlflow-ui"),
    **dict.fromkeys(("help", "usage"), "explr --help"),
    **dict.fromkeys(("doctor", "check", "env"), "explr verify"),
    **dict.fromkeys(("continue", "restart"), "explr resume FOLDER"),
    **dict.fromkeys(("gpu", "gpus", "nvidia-smi", "devices"), "explr gpu-info"),
    **dict.fromkeys(("new", "create"), "explr init"),
    **dict.fromkeys(("push", "upload", "ship"), "explr sync"),
    **dict.fromkeys(("top", "results", "winner"), "explr best FOLDER"),
    **dict.fromkeys(("diff",), "explr compare RUN RUN"),
    **dict.fromkeys(("html", "plot", "show"), "explr report FOLDER"),
    **dict.fromkeys(("dry-run", "preview"), "explr plan"),
    "version": "explr --version",
}
"""What to write in place of words that other programs have as commands."""


class Commands(click.Group):
    """A command group that suggests the nearest command for a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. A word that is no command may also be a mistyped override."""
        import difflib

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"did you mean {near[0]}?" if near else "`explr --help` lists them"
            if Path(args[0]).is_dir():
                hint = word_hint(args[0])
            elif meant := MEANT.get(args[0].lower()):
                hint = f"write {meant}"
            ctx.fail(f"there is no subcommand {args[0]!r}; {hint} (settings are KEY=VALUE)")


def run_subcommand(arguments: Sequence[str]) -> int:
    """Run a subcommand; print each error as one sentence.

    Args:
        arguments: the command line, starting with the name of the subcommand.

    Returns:
        The exit code.
    """
    guard_logs()
    open_closed_streams()
    escape_unprintable()
    try:
        code = commands.main(list(arguments), prog_name="explr", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "explr"
        text = error.format_message().rstrip(".")
        see = "" if "`explr" in text or "did you mean" in text else f"; see `{command} --help`"
        print(f"{text}{see}", file=sys.stderr)
        return error.exit_code
    except click.Abort:  # Ctrl-C
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (ExplrError, OSError, UnicodeEncodeError) as error:
        return report_fault(error)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Train and tune deep-learning models from one function; see `explr --help`."""


@commands.command(context_settings={"ignore_unknown_options": True})
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--train-fn", metavar="MODULE:FUNCTION", help="Training function.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def run(config: Path, train_fn: str | None, overrides: tuple[str, ...]) -> None:
    """Train once from CONFIG, a plain YAML file of settings.

    Keys of the file that explr does not define are hyperparameters. OVERRIDES (KEY=VALUE) replace
    values of the file. A file with a `defaults` list is used as Hydra's primary config.
    """
    if str(config).startswith("-"):
        raise click.UsageError(f"the file comes first, got {config}")
    from explr.config.settings_file import command_line
    from explr.runner.cli.app import run_command_line

    sys.exit(run_command_line(command_line(config, train_fn, overrides)))


@commands.command(context_settings={"ignore_unknown_options": True})
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--train-fn", metavar="MODULE:FUNCTION", help="Training function.")
@click.option("--n-trials", type=click.IntRange(1), help="Total number of trials.")
@click.option("--tuner", default="optuna", show_default=True, help="Tuner: optuna or ray.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def tune(
    config: Path, train_fn: str | None, n_trials: int | None, tuner: str, overrides: tuple[str, ...]
) -> None:
    """Tune hyperparameters over the ranges in CONFIG, a plain YAML file of settings.

    The key `search_space` maps hyperparameters to ranges in Hydra's sweep grammar. OVERRIDES
    (KEY=VALUE or KEY=RANGE) replace values of the file.
    """
    if str(config).startswith("-"):
        raise click.UsageError(f"the file comes first, got {config}")
    from explr.config.settings_file import command_line
    from explr.runner.cli.app import run_command_line

    chosen = [f"tuner.n_trials={n_trials}"] if n_trials else []
    line = command_line(config, train_fn, [*chosen, *overrides], {"tuner": tuner})
    sys.exit(run_command_line(["-m", *line]))


@commands.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--last", is_flag=True, help="Resume the newest that began here.")
@click.option("-q", "--quiet", "shown", flag_value="-q", help="Show warnings, errors, result.")
@click.option("-v", "--verbose", "shown", flag_value="-v", help="Show everything that is logged.")
@click.option("--trust", is_flag=True, help="Take also what another user has written.")
def resume(folder: Path | None, last: bool, shown: str | None, trust: bool) -> None:
    """Resume the interrupted sweep, or the training that was cut off, in FOLDER."""
    if (folder is None) is not last:
        raise click.UsageError("give either the folder of the sweep or run, or --last")
    from explr.runner.cli.resume import resume as resume_sweep

    resume_sweep(folder, shown, trust=trust)


@commands.command("list")
@click.option("--all", "everywhere", is_flag=True, help="Also those that began in other folders.")
def list_runs(everywhere: bool) -> None:
    """List the sweeps and runs below the working directory: state, trials, best value, age."""
    from explr.runner.cli.listing import show_list

    show_list(everywhere)


@commands.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write its settings to FILE as an experiment config.",
)
@click.option("--register", metavar="NAME", help="Register its model in MLflow under NAME.")
def best(folder: Path, out: Path | None, register: str | None) -> None:
    """Print the best trial of the sweep in FOLDER and the command that trains it again.

    With --out conf/experiment/NAME.yaml, `explr experiment=NAME` trains with its settings.
    """
    from explr.runner.cli.best import show_best

    show_best(folder, out, register)


@commands.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write to FILE instead of FOLDER/report.html.",
)
@click.option(
    "--png",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Also write a picture of the charts.",
)
def report(folder: Path, out: Path | None, png: Path | None) -> None:
    """Write a report of the sweep in FOLDER: one HTML page that needs no network."""
    from explr.results.report.write import show_report

    show_report(folder, out, png)


@commands.command("compare")
@click.argument("runs", nargs=-1, required=True)
@click.option("--png", metavar="FILE", type=click.Path(path_type=Path), help="Plot the curves.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare_runs(runs: tuple[str, ...], png: Path | None, as_json: bool) -> None:
    """Compare RUNS side by side: parameters that differ, and the last value of each metric.

    A run is the folder of a run or trial, an MLflow run id, or best:SWEEP_DIR.
    """
    from explr.runner.cli.compare import compare

    compare(runs, png, as_json)


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--samples", type=click.IntRange(1), default=SAMPLES, show_default=True, help="Sampled trials."
)
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def plan(samples: int, overrides: tuple[str, ...]) -> None:
    """Compose and check what OVERRIDES would run, without running it; -m plans a sweep.

    OVERRIDES may also be a whole command of any Hydra app, after `--`:
    explr plan -- python train.py -m hydra/sweeper=explr_optuna 'lr=interval(0,1)'
    """
    from explr.runner.cli.plan import show_plan, show_plan_of

    is_command = bool(overrides) and "=" not in overrides[0] and overrides[0][0] not in "-+~"
    sys.exit((show_plan_of if is_command else show_plan)(overrides, samples))


@commands.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="First port to try; 0 takes any free port.",
)
def dashboard(folder: Path, port: int) -> None:
    """Serve optuna-dashboard for the sweep in FOLDER until Ctrl-C, on this machine only.

    It follows a running sweep and changes nothing in the folder.
    """
    from explr.runner.cli.dashboard import serve_dashboard

    serve_dashboard(folder, port)


@commands.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--framework",
    type=click.Choice(["numpy", "pytorch"]),
    show_default="pytorch if it is installed, else numpy",
    help="Library of the example training.",
)
def init(folder: Path, framework: str | None) -> None:
    """Create a project in FOLDER: a training, a search space, an experiment config and a test.

    It runs right away, without downloads. Existing files are never overwritten.
    """
    from explr.runner.cli.init import init_project

    init_project(folder, framework)


@commands.command("mlflow-ui")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="First port to try.",
)
@click.option("--protect", is_flag=True, help="Ask for a password, which explr makes, from now on.")
@click.option("--stop", is_flag=True, help="Stop the server that explr started.")
def mlflow_ui(port: int, protect: bool, stop: bool) -> None:
    """Start the MLflow server of the local store if it is not running, and print its address."""
    from explr.runner.cli.mlflow_ui import start_server, stop_server

    if stop and protect:
        raise click.UsageError("give either --stop or --protect")
    stop_server() if stop else start_server(port, protect)


@commands.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--verify",
    is_flag=True,
    help="Upload nothing: compare the runs in FOLDER with what MLflow has of them.",
)
@click.option("--trust", is_flag=True, help="Take also what another user has written.")
def sync(folder: Path | None, verify: bool, trust: bool) -> None:
    """Upload to MLflow what has not been uploaded yet: the runs in FOLDER, or all runs."""
    from explr.runner.cli.sync import sync_journals, verify_journals

    if verify and folder is None:
        raise click.UsageError("--verify needs the folder of a run or sweep")
    sys.exit(verify_journals(folder) if verify and folder else sync_journals(folder, trust))


@commands.command("gpu-info")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def gpu_info(as_json: bool) -> None:
    """Show the NVIDIA driver and the GPUs."""
    from explr.runner.cli.gpu import show_gpus

    show_gpus(as_json)


@commands.command()
@click.option("--show", is_flag=True, help="Show the budget and GPU usage (default).")
@click.option(
    "--limit",
    metavar="GIB",
    help="Save your own default; 0: no limit, `default`: reset to explr's default.",
)
def memory(show: bool, limit: str | None) -> None:
    """Show the GPU memory budget of trainings and where it is set, or save your own default.

    The setting gpu.memory_limit_gb and the variable EXPLR_GPU_MEMORY_GB override your default.
    """
    from explr.runner.cli.gpu import keep_memory_limit, show_memory

    if limit is not None:
        keep_memory_limit(limit)
    if show or limit is None:
        show_memory()


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def verify(as_json: bool, overrides: tuple[str, ...]) -> None:
    """Check driver, frameworks, MLflow, Ray and folders for a training with OVERRIDES.

    Each check passes, warns or fails, and says what was found and what to do about it.
    """
    from explr.runner.cli.verify import verify_installation

    sys.exit(verify_installation(overrides, as_json))


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL, for subcommands and settings.

    Add `eval "$(explr completion bash)"` to ~/.bashrc, `eval "$(explr completion zsh)"` to
    ~/.zshrc, or `explr completion fish | source` to fish's config.fish.
    """
    from explr.runner.cli.completion.scripts import SCRIPTS

    click.echo(SCRIPTS[shell], nl=False)
