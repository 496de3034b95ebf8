"""`explr.report`: an intermediate value, from any code that runs in a training or a Hydra app."""

from __future__ import annotations

from explr.core.errors import BY_TUNER, TrialPruned, UsageError
from explr.core.user_code import running_context
from explr.runner.reporting import foreign_reporter
from explr.tracking.values import number


def report(step: int, **metrics: float) -> None:
    """Report metrics of a step, in any Hydra app: pruning in one line.

    Within a training of explr's the metrics are logged too, and the objective's is what pruning
    looks at; in another app, whose objective nobody names, it is the first.

    Args:
        step: epoch or batch, counted by the training.
        metrics: values by metric name.

    Raises:
        TrialPruned: the tuner ends this trial.
        TypeError: a value cannot be read as a number.
        UsageError: no metric was given.
    """
    if not metrics:
        raise UsageError("explr.report needs a metric, as in explr.report(step, loss=loss)")
    context = running_context()
    if context is not None:
        context.report(step, **metrics)
        reporter = context.reporter
    else:
        reporter = foreign_reporter()
        name, value = next(iter(metrics.items()))
        reporter.report(step, number(name, value, step))
    if reporter.should_prune():
        raise TrialPruned(f"{BY_TUNER}, at step {step}")
