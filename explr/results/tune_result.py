"""The result of `explr.tune`: trials as a DataFrame, and charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.results.report import param_charts, trial_charts
from explr.results.report.chart import Chart
from explr.results.report.param_charts import Searched
from explr.results.summary import best_trials, counts_line, pruned_line, table_of
from explr.results.sweep import SweepView, read_sweep
from explr.tuning.trial import SweepResult

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class TuneResult(SweepResult):
    """The result of a sweep, with tables and charts for a notebook.

    Args are those of `SweepResult`. The plot methods read the sweep's folder. They return charts
    that a notebook displays, and that `save` writes to a file.
    """

    def dataframe(self) -> pandas.DataFrame:
        """Every trial as a row of a pandas DataFrame.

        Returns:
            `number`, `state`, `value` (with several objectives `values_0`, `values_1`, …), a
            column `params_…` for each parameter, `duration_s` in seconds, and the other fields of
            the trials.
        """
        import pandas

        return pandas.DataFrame([dict(_cells(trial)) for trial in self.trials])

    def plot_history(self) -> Chart:
        """The value of each trial, and the best value so far."""
        return self._chart("history", trial_charts.history)

    def plot_intermediate(self) -> Chart:
        """The reported values of each trial by step; pruned trials are orange."""
        return self._chart("intermediate values", trial_charts.intermediate)

    def plot_importances(self, objective: int = 0) -> Chart:
        """The importance of each hyperparameter.

        Args:
            objective: index of the objective, if there are several.
        """
        return self._of_params("importances", param_charts.importance_chart, objective)

    def plot_parallel(self, objective: int = 0) -> Chart:
        """Each trial as a line through its parameter values; see `plot_importances`."""
        return self._of_params("parallel coordinates", param_charts.parallel, objective)

    def plot_slices(self, objective: int = 0) -> Chart:
        """The value of each trial over each hyperparameter; see `plot_importances`."""
        return self._of_params("slices", param_charts.slices, objective)

    def plot_contour(self, objective: int = 0) -> Chart:
        """The objective over the two most important hyperparameters; see `plot_importances`."""
        return self._of_params("landscape", param_charts.contour, objective)

    def plot_pareto(self) -> Chart:
        """Each pair of objectives; the trials of the Pareto front are highlighted."""
        return self._chart("Pareto front", trial_charts.pareto)

    def plot_timeline(self) -> Chart:
        """When each trial ran; a row holds trials that ran one after the other."""
        return self._chart("timeline", trial_charts.timeline)

    def _of_params(
        self, title: str, draw: Callable[[Searched], Iterator[str]], objective: int
    ) -> Chart:
        return self._chart(title, lambda sweep: draw(Searched(sweep, objective)))

    def _chart(self, title: str, draw: Callable[[SweepView], Iterator[str]]) -> Chart:
        if self.folder is None:
            raise UsageError(f"there is no {title} of a sweep that wrote nothing")
        drawings = list(draw(read_sweep(self.folder)))
        if not drawings:
            raise UsageError(f"the trials of {self.folder} do not make a {title} yet")
        return Chart(drawings)

    def _repr_html_(self) -> str:
        """The HTML for a notebook: the best trials, and the number of trials in each state."""
        values = [trial["value"] for trial in self.trials if trial["state"] == "COMPLETE"]
        several = len(self.front[0]["value"]) if self.front else 1
        less = self.best is None or self.best["value"] == min(values)
        directions = ["minimize" if less else "maximize"] * several
        names = [f"values_{i}" for i in range(several)] if several > 1 else ["value"]
        table = table_of(best_trials(self.trials, directions, self.front), names, None)
        rows = [f"<tr>{''.join(f'<th>{escape(c)}</th>' for c in table.head)}</tr>"]
        rows += [f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in table.rows]
        lines = [counts_line(self.trials), pruned_line(self.trials), f"folder: {self.folder}"]
        said = "<br>".join(escape(line) for line in lines if line)
        return f"<table>{''.join(rows)}</table><p>{said}</p>"


def _cells(trial: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The columns of a trial, named as Optuna names them."""
    for key, content in trial.items():
        if key == "value" and isinstance(content, list):
            yield from ((f"values_{i}", value) for i, value in enumerate(content))
        elif key == "params":
            yield from ((f"params_{name}", value) for name, value in content.items())
        else:
            yield key, content
