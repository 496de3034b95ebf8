"""A Ray Tune search algorithm that runs the trials of a study and records how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ray.tune.callback import Callback
from ray.tune.experiment import Trial
from ray.tune.search import SearchAlgorithm
from ray.tune.stopper import NoopStopper

from explr.core.errors import UsageError
from explr.core.reporter import RepeatedSteps
from explr.sweep.ray.messages import Ended, Message, Refused, Reported, from_result
from explr.tuning.account import SweepAccount, SweepListener
from explr.tuning.feasibility.failure import Failure
from explr.tuning.trial import Job, Outcome

T = TypeVar("T")


@dataclass
class _Open:
    """A trial that Ray runs or will run."""

    number: int
    params: dict[str, Any]
    ray: Trial
    started: bool = False
    deaths: int = 0

    def job(self, attempt: int = 0) -> Job:
        """The trial as one job; its actor runs the replicates."""
        return Job(self.number, 0, 1, attempt, self.params)


class StudySearch(SearchAlgorithm):
    """Gives Ray Tune the trials of a study.

    Args:
        account: the account of the sweep.
        live: maximum number of trials that Ray holds at the same time.
        listener: receives the events of each trial.
    """

    def __init__(
        self, account: SweepAccount, live: int, listener: SweepListener | None = None
    ) -> None:
        self._account = account
        self._max_live = live
        self._listener = listener or SweepListener()
        self._open: dict[int, _Open] = {}
        self._spec: dict[str, Any] = {}
        self._repeated = RepeatedSteps()
        self.verdict: BaseException | None = None
        """The error that stops the sweep early."""
        account.begin()

    @property
    def total_samples(self) -> int:
        """Total number of trials."""
        return int(min(self._account.limits.n_trials, 2**31))

    def add_configurations(self, experiments: Any) -> None:
        """See `SearchAlgorithm.add_configurations`."""
        (experiment,) = experiments if isinstance(experiments, list) else [experiments]
        self._spec = experiment.spec

    def take_over(self, trials: list[Trial]) -> None:
        """Take over the trials that Ray restored; the study's other trials follow."""
        ended = (Trial.TERMINATED, Trial.ERROR)
        for trial in trials:
            number = int(trial.trial_id)
            if trial.status not in ended:
                params = self._account.take_over(number)
                if params is not None:
                    self._open[number] = _Open(number, params, trial)

    def next_trial(self) -> Trial | None:
        """See `SearchAlgorithm.next_trial`."""
        return self.guarded(self._next_trial)

    def _next_trial(self) -> Trial | None:
        if self.is_finished() or len(self._open) >= self._max_live:
            return None
        upcoming = self._account.next_trial()
        if upcoming is None:
            self.set_finished()  # type: ignore[no-untyped-call]
            return None
        number, params = upcoming
        spec = self._spec
        trial = Trial(
            spec["run"],
            trial_id=str(number),  # in the config, another trial could take it over
            config={"params": params},
            evaluated_params=params,
            experiment_tag=str(number),
            storage=spec["storage"],
            checkpoint_config=spec["checkpoint_config"],
            trial_name_creator=spec["trial_name_creator"],
            trial_dirname_creator=spec["trial_dirname_creator"],
            max_failures=spec["max_failures"],
        )
        self._open[number] = _Open(number, params, trial)
        return trial

    def started(self, trial: Trial) -> None:
        """Record that a trial starts, or continues with other parameters."""
        open_ = self._open.get(int(trial.trial_id))
        if open_ is None:  # it ended after Ray's last snapshot
            return
        open_.deaths = 0
        self._repeated.begin(open_.number)
        params = dict(trial.config["params"])
        if params != open_.params:
            open_.params = params
            self._account.change(open_.number, params)
            if open_.started:
                self._listener.changed(open_.job())
        if not open_.started:  # else Ray had only paused it
            open_.started = True
            self._listener.started(open_.job(self._account.begin_attempt(open_.number)))

    def recovered(self, trial: Trial) -> None:
        """Record that a trial's Ray worker died, so that the trial starts again."""
        if (open_ := self._open.get(int(trial.trial_id))) is not None:
            open_.started = False

    def would_prune(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Record what a trial reports; returns whether the study's pruner would stop it."""
        open_, message = self._open.get(int(trial_id)), from_result(result)
        if open_ is None or not isinstance(message, Reported):
            return False
        return self._account.report(open_.number, message.step, message.value)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See `SearchAlgorithm.on_trial_result`."""
        self.guarded(lambda: self._hear(trial_id, from_result(result)))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """See `SearchAlgorithm.on_trial_complete`."""
        self.guarded(lambda: self._complete(trial_id, from_result(result or {}), error))

    def guarded(self, action: Callable[[], T]) -> T | None:
        """Call a function and keep an error, such as a full disk, until Ray's loop has ended.

        Returns:
            What the function returned; None if it raised, which then is the verdict.
        """
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - raised when Ray's loop has ended
            self.verdict = self.verdict or error
            return None

    def _hear(self, trial_id: str, message: Message) -> None:
        """Record a report, and the retries of the trial's actor since the last one."""
        open_ = self._open.get(int(trial_id))
        if open_ is None:
            return
        if isinstance(message, Reported | Ended):
            for reason in message.deaths[open_.deaths :]:
                self._account.try_again(open_.number, reason)
                self._repeated.begin(open_.number)
            open_.deaths = len(message.deaths)
        if isinstance(message, Reported):
            step, value = message.step, message.value
            self._repeated.reported(step, value, open_.number, f"trial {open_.number}")
            self._listener.reported(open_.number, step, value)
            self._account.report(open_.number, step, value)

    def _complete(self, trial_id: str, message: Message, error: bool) -> None:
        open_ = self._open.get(int(trial_id))
        if open_ is None or self.verdict is not None:
            return
        if error:
            outcome = _lost(open_.ray)
        elif isinstance(message, Refused):
            self.verdict = UsageError(message.reason)
            return
        else:
            self._hear(trial_id, message)
            pruned = Outcome("PRUNED", reason="the tuner ends this trial")
            outcome = message.outcome if isinstance(message, Ended) else pruned
        if isinstance(message, Ended) and message.missed:
            self._listener.missed(open_.number, message.missed)
        del self._open[open_.number]
        self._repeated.begin(open_.number)
        self._account.tell(open_.number, outcome)
        self._listener.ended(open_.job(), outcome)
        self.verdict = self._account.too_many_failures()


def _lost(trial: Trial) -> Outcome:
    """The outcome of a trial whose Ray worker died more often than retries allow."""
    reason = "its Ray worker died"
    if cause := trial.get_pickled_error():
        reason += f": {str(cause).strip().splitlines()[0]}"
    return Outcome("FAIL", reason=reason, failure=Failure.WORKER_LOST, died=True)


class Watch(Callback):
    """Forwards Ray's callbacks to a search, and stops Ray's loop with the search's verdict.

    Args:
        search: the search.
        check: called often; raises if Ray cannot go on.
    """

    def __init__(self, search: StudySearch, check: Callable[[], None] = lambda: None) -> None:
        self._search = search
        self._check = check
        self._prepared = False

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """See `Callback.on_step_begin`."""
        self._check()
        if not self._prepared:
            self._prepared = True
            self._search.guarded(lambda: self._search.take_over(trials))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """See `Callback.on_step_end`.

        Raises:
            BaseException: the verdict; Ray stops its trials and raises it too.
        """
        if self._search.verdict is not None:
            raise self._search.verdict

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """See `Callback.on_trial_start`."""
        self._search.guarded(lambda: self._search.started(trial))

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """See `Callback.on_trial_recover`."""
        self._search.guarded(lambda: self._search.recovered(trial))


def _live_watch() -> NoopStopper:
    """The stopper that snapshots of earlier versions refer to; it stops nothing."""
    return NoopStopper()
