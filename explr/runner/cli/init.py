"""`explr init`: creates a project that runs right away."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import click

from explr.core.errors import UsageError

PROJECT = {
    "train.py": "train_{framework}.py",
    "test_train.py": "test_train.py",
    "conf/search_space/moons.yaml": "search_space.yaml",
    "conf/experiment/moons.yaml": "experiment.yaml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
}
"""Files of a new project and their templates."""


def init_project(folder: Path, framework: str | None = None) -> None:
    """Write a new project and print how to use it.

    Args:
        folder: folder of the project; it is created if it does not exist.
        framework: `numpy` or `pytorch`; None takes PyTorch if it is installed.

    Raises:
        UsageError: a file of the project already exists, or cannot be written.
    """
    framework = framework or ("pytorch" if find_spec("torch") else "numpy")
    title = folder.absolute().name or "project"
    there = [name for name in PROJECT if (folder / name).exists()]
    if there:
        raise UsageError(
            f"{folder} already has {', '.join(there)}, and explr init overwrites nothing: choose "
            "another folder"
        )
    for name, template in PROJECT.items():
        text = _template(template.format(framework=framework))
        # A name may contain characters that are special in YAML or Markdown.
        text = text.replace("{name}", json.dumps(title)).replace("{title}", title)
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"{folder / name} cannot be written: {reason}") from None
        click.echo(f"  {folder / name}")
    where = "" if folder.absolute() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"to train: {where}python train.py")
    click.echo(f"to tune: {where}python train.py tuner=optuna -m tuner.n_trials=20")


def _template(name: str) -> str:
    source = files("explr.runner.cli").joinpath("project", f"{name}.template")
    return source.read_text(encoding="utf-8")
