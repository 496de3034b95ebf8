"""Tells a search what Ray tells callbacks, and Ray when the search is over."""

from __future__ import annotations

from typing import Any

from ray.tune.callback import Callback
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper

from explr.tuning.ray_search import StudySearch, live_search


class Watch(Callback, Stopper):
    """A callback of Ray's, and the one that ends its loop.

    Args:
        search: the search.
    """

    def __init__(self, search: StudySearch) -> None:
        self.search = search
        self._begun = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _live_watch, ()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """See `Callback.on_step_begin`."""
        if not self._begun:
            self._begun = True
            self.search.guarded(lambda: self.search.take_over(trials))

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """See `Callback.on_trial_start`."""
        self.search.guarded(lambda: self.search.started(trial))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """See `Callback.on_trial_recover`."""
        self.search.guarded(lambda: self.search.recovered(trial))

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """See `Stopper`: no trial is stopped by its results here."""
        return False

    def stop_all(self) -> bool:
        """See `Stopper.stop_all`."""
        return self.search.verdict is not None


def _live_watch() -> Watch:
    return Watch(live_search())
