"""The report of a sweep as one HTML page, without scripts and external files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from html import escape

from explr.core.folders import run_folder
from explr.core.secrets.masking import redacted_text
from explr.results.report import svg
from explr.results.report.param_charts import Searched, contour, importance_chart, parallel, slices
from explr.results.report.trial_charts import (
    COLOURS,
    SHOWN,
    history,
    intermediate,
    pareto,
    timeline,
)
from explr.results.retrain import retrain_command
from explr.results.sweep import SweepView
from explr.results.text import number, plain
from explr.results.trial import TrialView

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#111827;background:#fff;max-width:1080px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .3rem}
h3{font-size:1rem;margin:1rem 0 .2rem}p{margin:.2rem 0;color:#4b5563}
code,pre{font:13px/1.45 ui-monospace,monospace;background:#f3f4f6;border-radius:4px}
code{padding:.1rem .3rem}pre{padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere}
.pair{display:flex;flex-wrap:wrap;gap:8px}
.scroll{overflow:auto;max-height:70vh}table{border-collapse:collapse;font-size:13px}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #e5e7eb;white-space:nowrap}
th{position:sticky;top:0;background:#f9fafb}td.text{text-align:left;white-space:normal}
tr.best{background:#d1fae5}.state{font-weight:600}
"""

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<title>{title}</title><style>{style}</style></head><body>
"""


def render(sweep: SweepView) -> str:
    """The whole page, as HTML."""
    title = f"Sweep {sweep.study.study_name}"
    parts = [HEAD.format(title=escape(title), style=STYLE + svg.STYLE), f"<h1>{escape(title)}</h1>"]
    parts += _summary(sweep)
    if len(sweep.metrics) > 1:
        said = "Trials on the Pareto front are green."
        parts += _section("Pareto front", said, pareto(sweep), _NONE_COMPLETE)
    parts += _section("Optimization history", "", history(sweep), _NONE_COMPLETE)
    parts += _section(
        "Intermediate values",
        "Each line is a trial. Pruned trials are orange and end in a dot.",
        intermediate(sweep),
        "No trial has reported an intermediate value.",
    )
    for objective, metric in enumerate(sweep.metrics):
        if len(sweep.metrics) > 1:
            parts.append(f"<h2>Hyperparameters and {escape(metric)}</h2>")
        parts += _hyperparameters(Searched(sweep, objective))
    parts += _section("Timeline", "", timeline(sweep), "No trial has started.", also=_legend(sweep))
    parts += _table(sweep)
    parts += _origin(sweep)
    parts.append("</body></html>\n")
    return "".join(parts)


_NONE_COMPLETE = "No completed trial has a value that can be drawn."


def _summary(sweep: SweepView) -> Iterator[str]:
    states = Counter(trial.state for trial in sweep.trials)
    counts = ", ".join(f"{count} {state.lower()}" for state, count in states.most_common())
    goals = ", ".join(
        f"{metric} {'minimized' if less else 'maximized'}"
        for metric, less in zip(sweep.metrics, sweep.minimize, strict=True)
    )
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    yield f"<p>{len(sweep.trials)} trials"
    yield f": {counts}. " if counts else ". "
    yield f"{escape(goals)}. As of {made}.</p>"
    if len(sweep.trials) > SHOWN:
        yield f"<p>Charts draw the best trials and up to {SHOWN} others, spread evenly. The best "
        yield "value so far, the importances and the table are those of all trials.</p>"
    if len(sweep.best) == 1 and len(sweep.metrics) == 1:
        (best,) = (trial for trial in sweep.trials if trial.number in sweep.best)
        params = " ".join(f"{name}={plain(value)}" for name, value in best.params.items())
        yield f"<p>Best: trial {best.number} with {escape(sweep.metrics[0])} "
        yield f"{number(best.values[0])}: <code>{escape(params)}</code></p>"
        again = retrain_command(sweep.folder, run_folder(best.folder), best.params)
        yield f"<p>To train it again: <code>{escape(redacted_text(again))}</code></p>"


def _hyperparameters(searched: Searched) -> Iterator[str]:
    too_few = "This needs two trials with different values, and parameters that all trials have."
    if searched.is_flat:
        too_few = "All trials have the same value, so the importances are undefined."
    yield from _section(
        "Importance of hyperparameters",
        "How much the parameter values of the best trials differ from those of all trials "
        "(PED-ANOVA). The importances sum to 1.",
        importance_chart(searched),
        too_few,
    )
    yield from _section(
        "Parallel coordinates",
        "Each line is a trial. Better trials are lighter.",
        parallel(searched),
        _NONE_COMPLETE,
    )
    yield from _section("Slices", "", slices(searched), _NONE_COMPLETE)
    yield from _section(
        "The two most important parameters",
        "Dots are trials. Colours between them are estimated. Lighter is better.",
        contour(searched),
        "This needs three trials, and two parameters that all trials have.",
    )


def _section(
    title: str, about: str, charts: Iterable[str], otherwise: str, also: str = ""
) -> Iterator[str]:
    """A heading and its charts; a sentence in place of them if there are none."""
    drawn = list(charts)
    yield f"<h2>{escape(title)}</h2>"
    if not drawn:
        yield f"<p>{otherwise}</p>"
        return
    yield f"<p>{about}</p>{also}" if about else also
    yield f'<div class="pair">{"".join(drawn)}</div>'


def _legend(sweep: SweepView) -> str:
    states = dict.fromkeys(trial.state for trial in sweep.trials)
    named = (f'<span style="color:{COLOURS[state]}">■</span> {state}' for state in states)
    return f"<p>{' &nbsp; '.join(named)}</p>"


def _table(sweep: SweepView) -> Iterator[str]:
    names = list(dict.fromkeys(name for trial in sweep.trials for name in trial.params))
    heads = ["trial", "state", *sweep.metrics, *names, "duration [s]", "steps", "attempts"]
    yield '<h2>Trials</h2><div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(head)}</th>" for head in [*heads, "MLflow run", "reason"])
    yield "</tr></thead><tbody>"
    for trial in sweep.trials:
        kind = ' class="best"' if trial.number in sweep.best else ""
        yield f"<tr{kind}>{''.join(_cells(sweep, trial, names))}</tr>"
    yield "</tbody></table></div>"


def _cells(sweep: SweepView, trial: TrialView, names: list[str]) -> Iterator[str]:
    yield f"<td>{trial.number}</td>"
    yield f'<td class="state" style="color:{COLOURS[trial.state]}">{trial.state}</td>'
    for index in range(len(sweep.metrics)):
        known = index < len(trial.values)
        yield f"<td>{number(trial.values[index]) if known else ''}</td>"
    for name in names:
        yield f"<td>{escape(plain(trial.params[name])) if name in trial.params else ''}</td>"
    yield f"<td>{'' if trial.duration_s is None else f'{trial.duration_s:.1f}'}</td>"
    yield f"<td>{len(trial.frozen.intermediate_values)}</td><td>{trial.attempts}</td>"
    shown = f"<code>{escape(trial.run_id[:8])}</code>" if trial.run_id else ""
    if trial.address:
        shown = f'<a href="{escape(trial.address)}">{shown}</a>'
    yield f'<td>{shown}</td><td class="text">{escape(trial.reason)}</td>'


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
    yield "<table><tbody>"
    for name, value in sorted(sweep.environment.items()):
        yield f'<tr><td class="text">{escape(name)}</td>'
        yield f'<td class="text">{escape(value)}</td></tr>'
    yield "</tbody></table>"
