"""`explr report`: writes the report of a sweep as a page and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from explr.core.errors import UsageError
from explr.core.folders import REPORT, replace_file
from explr.core.secrets.masking import redacted_text
from explr.results.report.page import render
from explr.results.report.picture import take_picture
from explr.results.sweep import read_sweep

if TYPE_CHECKING:
    from optuna import Study


def write_report(folder: Path, out: Path | None = None, study: Study | None = None) -> Path:
    """Write the report of a sweep.

    Args:
        folder: folder of the sweep, which another process may be running.
        out: file to write; None writes `report.html` in the folder.
        study: the study of the sweep; None reads it from its storage.

    Returns:
        The file.

    Raises:
        UsageError: there is no study, or the file cannot be written.
    """
    page = redacted_text(render(read_sweep(folder, study)))
    out = out or folder / REPORT
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, page.encode(errors="replace"), private=False)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from None
    return out


def show_report(folder: Path, out: Path | None, png: Path | None) -> None:
    """Write the report of a sweep, and print its path.

    Args:
        folder: folder of the sweep.
        out: file to write; None writes `report.html` in the folder.
        png: file for a picture of the page; None takes none.

    Raises:
        UsageError: there is no study, no browser for the picture, or a file cannot be written.
    """
    page = write_report(folder, out)
    click.echo(f"report: {page}")
    if png is not None:
        take_picture(page, png)
        click.echo(f"picture: {png}")
