"""The report of a sweep as one HTML page, which needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explr.core.secrets.masking import redacted_text
from explr.results.report.answer import answer
from explr.results.report.colours import COLOURS
from explr.results.sweep import SweepView
from explr.results.text import number, plain
from explr.results.trial import TrialView

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {scripts}">
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<title>{title}</title><style>{style}</style></head><body>
"""

AT_ONCE = 500
"""Rows of the table that are there from the beginning; thousands take a browser seconds."""


def render(sweep: SweepView, charts: bool = True) -> str:
    """The whole page, as HTML.

    Args:
        sweep: the sweep.
        charts: draw its charts, which takes seconds; else the page says how to.
    """
    title = f"Sweep {sweep.study.study_name}"
    figures: list[Figure] = []
    parts = [f"<h1>{escape(title)}</h1>", _about(sweep), *answer(sweep)]
    texts: dict[int, str] = {}
    if charts:
        from explr.results.report.sections import sections

        charts_of, figures, texts = sections(sweep)
        parts += charts_of
    else:
        parts.append(
            "<h2>Charts</h2><p>They are drawn in the background after a sweep: reload this page. "
            f"<code>explr report {escape(str(sweep.folder))}</code> draws them too.</p>"
        )
    rows = list(_rows(sweep))
    parts += _table(sweep, rows[:AT_ONCE])
    parts += _origin(sweep)
    given = {
        "texts": texts,
        "rows": [redacted_text(row) for row in rows[AT_ONCE:]],
        "figures": [json.loads(figure.to_json()) for figure in figures],
    }
    library, own = _plotly() if charts else "", _file("page.js")
    head = HEAD.format(
        title=escape(redacted_text(title)),
        style=_file("page.css") + _state_rules(),
        scripts=f"{_hash(library)} {_hash(own)}",
    )
    body = redacted_text("".join(parts))
    # "<" would let a text end the element.
    data = json.dumps(given, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        f'{head}{body}<script type="application/json" id="figures">{data}</script>'
        + (f'<script type="text/plain" id="plotly">{library}</script>' if charts else "")
        + f"<script>{own}</script></body></html>\n"
    )


def _state_rules() -> str:
    return "".join(f".{state}{{--state:{colour}}}" for state, colour in COLOURS.items())


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The source of a script as the page's policy names it; no other script is run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _about(sweep: SweepView) -> str:
    goals = ", ".join(
        f"{metric} is {'minimized' if less else 'maximized'}"
        for metric, less in zip(sweep.metrics, sweep.minimize, strict=True)
    )
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"<p>{escape(goals)}. As of {made}.</p>"


def _table(sweep: SweepView, rows: list[str]) -> Iterator[str]:
    heads = ["trial", "state", *sweep.metrics, *_params(sweep), "duration [s]", "steps", "attempts"]
    yield "<h2>Trials</h2><p>A click on a title sorts by it.</p>"
    yield '<div class="scroll"><table id="trials"><thead><tr>'
    for head in [*heads, "MLflow run", "reason"]:
        kind = ' class="text"' if head in ("state", "reason") else ""
        yield f"<th{kind}><button>{escape(head)}</button></th>"
    yield f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    if len(sweep.trials) > len(rows):
        yield f'<p><button id="rest">show all {len(sweep.trials)} trials</button></p>'


def _rows(sweep: SweepView) -> Iterator[str]:
    """The rows of the table, as HTML."""
    names = _params(sweep)
    for trial in sweep.trials:
        kind = ' class="best"' if trial.number in sweep.best else ""
        yield f"<tr{kind}>{''.join(_cells(sweep, trial, names))}</tr>"


def _params(sweep: SweepView) -> list[str]:
    return list(dict.fromkeys(name for trial in sweep.trials for name in trial.params))


def _cells(sweep: SweepView, trial: TrialView, names: list[str]) -> Iterator[str]:
    yield f"<td>{trial.number}</td>"
    yield f'<td class="state {trial.shown_state}">{trial.shown_state}</td>'
    for index in range(len(sweep.metrics)):
        yield _cell(trial.values[index] if index < len(trial.values) else None)
    for name in names:
        yield _cell(trial.params.get(name))
    seconds = trial.duration_s
    yield f"<td>{f'{seconds:.1f}' if seconds is not None else ''}</td>"
    yield f"<td>{len(trial.frozen.intermediate_values)}</td><td>{trial.attempts}</td>"
    shown = f"<code>{escape(trial.run_id[:8])}</code>" if trial.run_id else ""
    if trial.address:
        shown = f'<a href="{escape(trial.address)}">{shown}</a>'
    yield f'<td>{shown}</td><td class="reason">{escape(trial.reason)}</td>'


def _cell(value: Any) -> str:
    """A cell; a number is shown with four digits, and sorted by all of them."""
    if value is None:
        return "<td></td>"
    exact = isinstance(value, float) and math.isfinite(value) and number(value) != repr(value)
    sorted_by = f' data-v="{value!r}"' if exact else ""
    return f"<td{sorted_by}>{escape(plain(value))}</td>"


def _origin(sweep: SweepView) -> Iterator[str]:
    yield "<h2>Command</h2>"
    if sweep.command:
        yield f"<pre>{escape(sweep.command)}</pre>"
    else:
        yield "<p>The sweep was started from Python.</p>"
    yield "<h2>Environment</h2>"
    if not sweep.environment:
        yield "<p>Unknown, because the sweep was not tracked.</p>"
        return
    yield '<div class="scroll"><table><tbody>'
    for name, value in sorted(sweep.environment.items()):
        yield f'<tr><td class="text">{escape(name)}</td>'
        yield f'<td class="reason">{escape(value)}</td></tr>'
    yield "</tbody></table></div>"
