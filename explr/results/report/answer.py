"""What stands first in a report: the best trial, against the default, and what it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from omegaconf import OmegaConf

from explr.core.folders import run_folder
from explr.core.secrets.masking import redacted, redacted_text
from explr.results.failures import failures_line
from explr.results.retrain import retrain_command
from explr.results.summary import confirmation_lines, counts_line, infeasible_line, pruned_line
from explr.results.sweep import SweepView, sweep_config
from explr.results.text import brief, number, plain
from explr.results.trial import TrialView
from explr.tuning.confirmation.confirming import confirmation_of
from explr.tuning.study import STOP

MOST_OF_FRONT = 10
"""Trials of a Pareto front that are listed."""


def answer(sweep: SweepView) -> Iterator[str]:
    """The first part of the page, as HTML."""
    yield '<section class="answer">'
    best = [trial for trial in sweep.trials if trial.number in sweep.best]
    defaults = default_params(sweep)
    if len(sweep.metrics) > 1:
        yield from _front(sweep, best)
    elif best:
        yield from _best(sweep, best[0], defaults)
    else:
        yield "<div><h2>No best trial yet</h2>"
        yield "<p>No trial is complete and satisfies the constraints.</p></div>"
    yield f'<div class="wide">{"".join(f"<p>{escape(line)}</p>" for line in _spent(sweep))}</div>'
    yield "</section>"


def default_params(sweep: SweepView) -> dict[str, Any]:
    """What the config has for each searched parameter without the sweep; what is unknown lacks."""
    names = dict.fromkeys(name for trial in sweep.trials for name in trial.params)
    config = sweep_config(sweep.folder)
    choices = OmegaConf.select(config, "hydra.runtime.choices") or {}
    found: dict[str, Any] = {}
    for name in names:
        value = choices.get(name) if name in choices else _selected(config, name)
        if value is not None and not OmegaConf.is_config(value):
            found[name] = value
    return dict(redacted(found))


def _selected(config: Any, name: str) -> Any:
    try:
        return OmegaConf.select(config, name)
    except Exception:  # noqa: BLE001 - a name that is no key, or an interpolation without a value
        return None


def _best(sweep: SweepView, best: TrialView, defaults: Mapping[str, Any]) -> Iterator[str]:
    metric, value = sweep.metrics[0], best.values[0]
    yield f"<div><h2>Best: trial {best.number}</h2>"
    yield f'<div class="value">{escape(metric)} {number(value)}</div>'
    same = _default_trial(sweep, defaults)
    if same is not None and same.number == best.number:
        yield "<p>It has the default parameters: no other trial is better.</p>"
    elif same is not None:
        yield f"<p>{escape(_against(sweep, value, same))}</p>"
    elif defaults.keys() == best.params.keys():
        first = ",".join(f"{name}:{plain(v)}" for name, v in defaults.items())
        yield "<p>No trial has the default parameters, so what the search gained is unknown. "
        yield f"<code>tuner.enqueue=[{{{escape(first)}}}]</code> trains them first.</p>"
    if (confirmed := confirmation_of(sweep.study)) is not None:
        for line in confirmation_lines(confirmed.told()):
            yield f"<p>{escape(line)}</p>"
    if best.address:
        yield f'<p><a href="{escape(best.address)}">its run in MLflow</a></p>'
    yield '</div><div class="scroll"><table><thead><tr><th class="text">parameter</th>'
    yield f"<th>best</th>{'<th>default</th>' if defaults else ''}</tr></thead><tbody>"
    for name, held in best.params.items():
        yield f'<tr><td class="text">{escape(name)}</td><td>{escape(plain(held))}</td>'
        known = escape(plain(defaults[name])) if name in defaults else ""
        yield f"<td>{known}</td></tr>" if defaults else "</tr>"
    yield "</tbody></table></div>"
    again = retrain_command(sweep.folder, run_folder(best.folder), best.params)
    yield '<div class="wide"><p>To train it again:</p>'
    yield f"<pre>{escape(redacted_text(again))}</pre></div>"


def _default_trial(sweep: SweepView, defaults: Mapping[str, Any]) -> TrialView | None:
    """The first trial with the default parameters that has a value, a completed one if any has."""
    same = [
        trial
        for trial in sweep.trials
        if trial.params
        and trial.values
        and all(
            name in defaults and (defaults[name] == value or str(defaults[name]) == str(value))
            for name, value in trial.params.items()
        )
    ]
    return next(iter(sorted(same, key=lambda trial: not trial.is_complete)), None)


def _against(sweep: SweepView, value: float, default: TrialView) -> str:
    """The best value in relation to that of the default parameters."""
    before, known = default.values[0], f"The default parameters (trial {default.number})"
    if not default.is_complete:
        steps = len(default.frozen.intermediate_values)
        return f"{known} were pruned at {number(before)}, after {steps} reports."
    gained = (before - value) if sweep.minimize[0] else (value - before)
    share = f"{gained / abs(before):.1%} better" if before else f"better by {number(gained)}"
    return f"{known} have {number(before)}: the best is {share}."


def _front(sweep: SweepView, front: list[TrialView]) -> Iterator[str]:
    yield f'<div class="wide"><h2>Pareto front: {len(front)} trials</h2>'
    yield "<p>No other trial beats them in all objectives.</p>"
    if front:
        heads = "".join(f"<th>{escape(each)}</th>" for each in ("trial", *sweep.metrics))
        yield f'<div class="scroll"><table><thead><tr>{heads}<th class="text">parameters</th>'
        yield "</tr></thead><tbody>"
    for trial in sorted(front, key=lambda t: t.values[0])[:MOST_OF_FRONT]:
        values = "".join(f"<td>{number(each)}</td>" for each in trial.values)
        params = " ".join(f"{name}={plain(value)}" for name, value in trial.params.items())
        yield f'<tr><td>{trial.number}</td>{values}<td class="reason">{escape(params)}</td></tr>'
    if front:
        yield "</tbody></table></div>"
    if len(front) > MOST_OF_FRONT:
        yield "<p>The others are in the table of all trials, in green.</p>"
    yield "</div>"


def _spent(sweep: SweepView) -> Iterator[str]:
    """How many trials there were, how long they took, what failed, and what pruning saved."""
    rows = [trial.row() for trial in sweep.trials]
    trained_s = sum(row["duration_s"] or 0.0 for row in rows)
    starts = [s for t in sweep.trials if (s := t.frozen.datetime_start)]
    ends = [e for t in sweep.trials if (e := t.frozen.datetime_complete)]
    line = f"Spent: {counts_line(rows)}" if rows else "No trial has started."
    if trained_s:
        line += f"; {brief(trained_s)} of training"
    if starts and ends and max(ends) >= min(starts):  # the clock may have been set back
        line += f" in {brief((max(ends) - min(starts)).total_seconds())}"
    yield f"{line}."
    if stopped := sweep.study.user_attrs.get(STOP):
        yield f"Stopped early: {stopped}."
    if (infeasible := infeasible_line(rows)) is not None:
        yield f"{infeasible}."
    if (failures := failures_line(rows)) is not None:
        yield f"{failures}."
    if (saved := pruned_line(rows)) is not None:
        yield f"Saved: {saved}."
