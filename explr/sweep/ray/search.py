"""Tells a search what Ray tells callbacks, and Ray when the search is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from ray import cloudpickle
from ray.tune.callback import Callback
from ray.tune.experiment import Trial
from ray.tune.search import SearchAlgorithm
from ray.tune.stopper import Stopper

from explr.core.errors import UsageError
from explr.sweep.ray.private import create_trial
from explr.tuning.loop import Failures, Limits
from explr.tuning.study import SpaceOf, Study
from explr.tuning.trial import Job, Outcome

log = logging.getLogger("explr.sweep")

T = TypeVar("T")

METRIC, STEP = "objective", "step"
"""What a result of Ray's calls the value of the objective, and the step that it belongs to."""

STATE_FILE = "study-search-{}.pkl"


class Suggest(Protocol):
    """Chooses the parameters of a trial in place of the study's sampler."""

    def suggest(self, suggestion: str) -> dict[str, Any] | None:
        """Parameters by name; None for no more."""
        ...

    def complete(self, suggestion: str, value: float | None) -> None:
        """Take in the value of a trial that ended; None if it has none."""
        ...


@dataclass
class _Open:
    """A trial that is under way."""

    number: int
    params: dict[str, Any]
    ray: Trial
    begun: bool = False
    deaths: int = 0


class StudySearch(SearchAlgorithm):
    """Brings Ray Tune the trials of a study.

    Args:
        study: the study.
        space_of: the ranges that are active once some parameters are chosen.
        limits: when the sweep ends.
        live: trials that Ray may hold at the same time.
        suggest: chooses parameters in place of the study's sampler.
        on_start: called with each job that starts.
        on_change: called with each job that goes on with other parameters.
        on_end: called with each job that ended and how.
        on_report: called with a trial's number, a step and the value of the objective at it.
    """

    def __init__(
        self,
        study: Study,
        space_of: SpaceOf,
        limits: Limits,
        live: int,
        suggest: Suggest | None = None,
        on_start: Callable[[Job], None] = lambda job: None,
        on_change: Callable[[Job], None] = lambda job: None,
        on_end: Callable[[Job, Outcome], None] = lambda job, outcome: None,
        on_report: Callable[[int, int, float], None] = lambda number, step, value: None,
    ) -> None:
        self._study = study
        self._space_of = space_of
        self._limits = limits
        self._max_live = live
        self._suggest = suggest
        self._on_start = on_start
        self._on_change = on_change
        self._on_end = on_end
        self._on_report = on_report
        self._open: dict[int, _Open] = {}
        self._suggestions: dict[int, str] = {}
        self._left = study.unfinished(space_of)
        self._begun = study.count()
        self._begin = time.monotonic()
        self._spec: dict[str, Any] = {}
        self.failures = Failures(limits.max_failure_rate)
        self.verdict: BaseException | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray pickles the search with its settings; a search that goes on is this process's own.
        return live_search, ()

    @property
    def total_samples(self) -> int:
        """Trials in all."""
        return int(min(self._limits.n_trials, 2**31))

    def add_configurations(self, experiments: Any) -> None:
        """See `SearchAlgorithm.add_configurations`."""
        (experiment,) = experiments if isinstance(experiments, list) else [experiments]
        self._spec = experiment.spec

    def save_to_dir(self, dirpath: str, session_str: str = "", **kwargs: Any) -> None:
        """See `SearchAlgorithm.save_to_dir`: what Ray's trials have in common."""
        file = Path(dirpath, STATE_FILE.format(session_str))
        aside = file.with_name(f".{file.name}")
        content: bytes = cloudpickle.dumps({"spec": self._spec})  # type: ignore[no-untyped-call]
        aside.write_bytes(content)
        aside.replace(file)

    def has_checkpoint(self, dirpath: str) -> bool:
        """See `SearchAlgorithm.has_checkpoint`."""
        return any(Path(dirpath).glob(STATE_FILE.format("*")))

    def restore_from_dir(self, dirpath: str) -> None:
        """See `SearchAlgorithm.restore_from_dir`."""
        newest = max(Path(dirpath).glob(STATE_FILE.format("*")))
        self._spec = cloudpickle.loads(newest.read_bytes())["spec"]

    def take_over(self, trials: list[Trial]) -> None:
        """Take note of trials that Ray has restored; the study's others follow them."""
        ended = (Trial.TERMINATED, Trial.ERROR)
        restored = {int(trial.trial_id): trial for trial in trials if trial.status not in ended}
        for number, params in list(self._left):
            if number in restored:
                trial = restored[number]
                self._left.remove((number, params))
                self._open[number] = _Open(number, params, trial)

    def next_trial(self) -> Trial | None:
        """See `SearchAlgorithm.next_trial`."""
        return self.guarded(self._next_trial)

    def _next_trial(self) -> Trial | None:
        if self.is_finished() or len(self._open) >= self._max_live:
            return None
        begun = self._next()
        if begun is None:
            self.set_finished()  # type: ignore[no-untyped-call]
            return None
        number, params = begun
        trial = create_trial(self._spec, number, params)
        self._open[number] = _Open(number, params, trial)
        return trial

    def started(self, trial: Trial) -> None:
        """Take note that a trial starts, or goes on with other parameters."""
        open_ = self._open.get(int(trial.trial_id))
        if open_ is None:  # it had ended before Ray's last snapshot knew
            return
        open_.deaths = 0
        params = dict(trial.config["params"])
        if params != open_.params:
            open_.params = params
            self._study.note_params(open_.number, params)
            if open_.begun:
                self._on_change(Job(open_.number, 0, 1, 0, params))
        if not open_.begun:  # else Ray had only paused it
            open_.begun = True
            attempt = self._study.begin_attempt(open_.number)
            self._on_start(Job(open_.number, 0, 1, attempt, params))

    def recovered(self, trial: Trial) -> None:
        """Take note that a trial's Ray worker died, and the trial starts anew."""
        if (open_ := self._open.get(int(trial.trial_id))) is not None:
            open_.begun = False

    def report(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Record an intermediate value; whether the study's own pruner would end the trial."""
        open_ = self._open.get(int(trial_id))
        if open_ is None:
            return False
        self._note_deaths(open_, result)
        if METRIC not in result or "state" in result:
            return False
        self._on_report(open_.number, result[STEP], result[METRIC])
        return self._study.report(open_.number, result[STEP], result[METRIC])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `SearchAlgorithm.on_trial_result`."""
        self.guarded(lambda: self.report(trial_id, result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """See `SearchAlgorithm.on_trial_complete`."""
        self.guarded(lambda: self._complete(trial_id, result or {}, error))

    def guarded(self, action: Callable[[], T]) -> T | None:
        """Do something; what goes wrong, a full disk for one, never ends Ray's loop.

        Returns:
            What came of it; None if it went wrong, which is the sweep's verdict then.
        """
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - raised when Ray's loop has ended
            self.verdict = self.verdict or error
            return None

    def _complete(self, trial_id: str, result: dict[str, Any], error: bool) -> None:
        open_ = self._open.get(int(trial_id))
        if open_ is None or self.verdict is not None:
            return
        outcome = self._outcome(open_, result, error)
        if outcome is None:
            return
        if outcome.state == "PRUNED":
            self.report(trial_id, result)
        del self._open[open_.number]
        self._study.tell(open_.number, outcome.state, outcome.values, outcome.reason)
        if (suggestion := self._suggestions.pop(open_.number, None)) and self._suggest:
            self._suggest.complete(suggestion, outcome.values[0] if outcome.values else None)
        self._on_end(Job(open_.number, 0, 1, 0, open_.params), outcome)
        self.failures.count(outcome)
        self.verdict = self.failures.too_many()

    def _next(self) -> tuple[int, dict[str, Any]] | None:
        if self._left:
            return self._left.pop(0)
        limit = self._limits.timeout_s
        if self._begun >= self._limits.n_trials or self._study.stopped:
            return None
        if limit is not None and time.monotonic() - self._begin >= limit:
            return None
        self._begun += 1
        if self._suggest is None or self._study.waiting:
            return self._study.ask(self._space_of)
        suggestion = uuid4().hex
        given = self._suggest.suggest(suggestion)
        if given is None:
            return None
        number, params = self._study.ask(self._space_of, given)
        self._suggestions[number] = suggestion
        return number, params

    def _outcome(self, open_: _Open, result: Mapping[str, Any], error: bool) -> Outcome | None:
        if error:
            reason = "its Ray worker died"
            if cause := open_.ray.get_pickled_error():
                reason += f": {str(cause).strip().splitlines()[0]}"
            return Outcome("FAIL", reason=reason, died=True)
        if "refused" in result:
            self.verdict = UsageError(result["refused"])
            return None
        self._note_deaths(open_, result)
        if "state" not in result:
            return Outcome("PRUNED", reason="the tuner ends this trial")
        return Outcome(
            result["state"],
            tuple(result["values"]),
            result["reason"],
            detail=result["detail"],
        )

    def _note_deaths(self, open_: _Open, result: Mapping[str, Any]) -> None:
        """Count the attempts that the slot has made since it last said so."""
        deaths = list(result.get("deaths", ()))
        for reason in deaths[open_.deaths :]:
            log.warning("trial %d: %s, tried again", open_.number, reason)
            self._study.begin_attempt(open_.number)
        open_.deaths = len(deaths)


_LIVE: list[StudySearch] = []


def announce(search: StudySearch) -> None:
    """Make a search the one that Ray finds when it goes on with a sweep."""
    _LIVE[:] = [search]


def live_search() -> StudySearch:
    """The search of the sweep that this process runs."""
    return _LIVE[0]


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
