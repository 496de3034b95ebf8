"""The result of `explr.tune`: trials as a DataFrame, and charts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from explr.core.errors import UsageError
from explr.core.folders import best_first
from explr.results.failures import failures_line
from explr.results.summary import best_trials, counts_line, infeasible_line, pruned_line, table_of
from explr.results.sweep import read_sweep
from explr.tuning.trial import SweepResult

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class TuneResult(SweepResult):
    """The result of a sweep, with tables and charts for a notebook.

    Args are those of `SweepResult`. The plot methods read the sweep's folder. They return figures
    of plotly, which a notebook displays, and which `write_html` writes to a file.
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

    def plot_history(self, objective: int = 0) -> Figure:
        """The value of each trial, and the best value so far; pruned trials are orange.

        Args:
            objective: index of the objective, if there are several.
        """
        return self._figure("history", objective)

    def plot_intermediate(self) -> Figure:
        """The reported values of each trial by step; pruned trials are orange."""
        return self._figure("intermediate")

    def plot_importances(self, objective: int = 0) -> Figure:
        """The importance of each hyperparameter; see `plot_history`.

        Raises:
            UsageError: too few trials are complete.
        """
        return self._figure("importance", objective)

    def plot_parallel(self, objective: int = 0) -> Figure:
        """Each trial as a line through its parameter values; see `plot_history`."""
        return self._figure("parallel_coordinates", objective)

    def plot_slice(self, parameter: str, objective: int = 0) -> Figure:
        """The value of each trial over a hyperparameter; see `plot_history`."""
        return self._figure("slice_of", objective, parameter)

    def plot_contour(self, objective: int = 0) -> Figure:
        """The objective over the two most important hyperparameters; see `plot_history`."""
        return self._figure("contour", objective)

    def plot_rank(self, objective: int = 0) -> Figure:
        """The trials over the two most important hyperparameters; see `plot_history`."""
        return self._figure("rank", objective)

    def plot_edf(self, objective: int = 0) -> Figure:
        """The share of trials with at most each value; see `plot_history`."""
        return self._figure("distribution", objective)

    def plot_pareto(self, first: int = 0, second: int = 1) -> Figure:
        """Two objectives; the trials of the Pareto front are highlighted.

        Args:
            first: index of the objective on the horizontal axis.
            second: index of the objective on the vertical axis.
        """
        return self._figure("pareto", 0, first, second)

    def plot_hypervolume(self) -> Figure:
        """With several objectives, the hypervolume of the Pareto front after each trial.

        The reference point has the worst value of each objective among the completed trials that
        satisfy the constraints.
        """
        return self._figure("hypervolume")

    def plot_timeline(self) -> Figure:
        """When each trial ran."""
        return self._figure("timeline")

    def _figure(self, name: str, objective: int = 0, *arguments: Any) -> Figure:
        from explr.results.report import figures
        from explr.results.report.drawn import Drawn
        from explr.results.report.dress import with_texts

        if self.folder is None:
            raise UsageError(f"there is no {name} of a sweep that wrote nothing")
        drawn = Drawn(read_sweep(self.folder), objective)
        return with_texts(getattr(figures, name)(drawn, *arguments), drawn)

    def _repr_html_(self) -> str:
        """The HTML for a notebook: the best trials, and the number of trials in each state."""
        values = [] if self.front else [trial["value"] for trial in best_first(self.trials, True)]
        several = len(self.front[0]["value"]) if self.front else 1
        less = self.best is None or self.best["value"] == min(values)
        directions = ["minimize" if less else "maximize"] * several
        names = [f"values_{i}" for i in range(several)] if several > 1 else ["value"]
        table = table_of(best_trials(self.trials, directions, self.front), names, None)
        rows = [f"<tr>{''.join(f'<th>{escape(c)}</th>' for c in table.head)}</tr>"]
        rows += [f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in table.rows]
        lines = [counts_line(self.trials), infeasible_line(self.trials)]
        lines += [failures_line(self.trials), pruned_line(self.trials)]
        lines.append(f"folder: {self.folder}")
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
