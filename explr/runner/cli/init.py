"""`explr init`: a new project that runs at once."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
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
"""Files of a new project, and the templates that they are made from."""


def init_project(folder: Path, framework: str) -> None:
    """Write a new project, and say what can be done with it.

    Args:
        folder: where; it is made if need be.
        framework: `numpy` or `pytorch`.

    Raises:
        UsageError: a file of the project is there already, or cannot be written.
    """
    title = folder.absolute().name or "project"
    there = [name for name in PROJECT if (folder / name).exists()]
    if there:
        raise UsageError(
            f"{folder} has {', '.join(there)} already, and nothing is written over: name another "
            "folder"
        )
    for name, template in PROJECT.items():
        text = _template(template.format(framework=framework))
        # A name may hold what YAML and Markdown take for something else.
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
    click.echo(f"to search: {where}python train.py tuner=optuna -m tuner.n_trials=20")


def _template(name: str) -> str:
    source = files("explr.runner.cli").joinpath("project", f"{name}.template")
    return source.read_text(encoding="utf-8")
