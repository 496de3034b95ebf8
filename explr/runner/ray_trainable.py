"""What Ray Tune trains: a slot, one trial of the sweep after the other."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from explr.core.errors import ExplrError
from explr.runner.ray_slot import Report, Slot, Work
from explr.tuning.ray_search import METRIC, STEP
from explr.utils.signals import end_with

CHECKPOINTS = "checkpoints"
"""Folder of a training's checkpoints within its own folder."""


class TrialTrainable(Trainable):
    """Runs the trials that Ray gives to one actor."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], work: Work, ended: frozenset[int], prunes: bool
    ) -> None:
        """Take in the first trial.

        Args:
            config: parameters of the trial.
            work: what all trials are made of.
            ended: trials that had ended before Ray's last snapshot knew of it.
            prunes: a trial that Ray ends is pruned; otherwise it is to go on elsewhere.
        """
        end_with(os.getppid())  # Ray's own process, which ends with the sweep that started it
        self._work, self._ended, self._prunes = work, ended, prunes
        self._slot: Slot | None = None
        self._last_step = -1
        self._begun = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take in the next trial: each has a process of its own, so that nothing is left over."""
        self._leave()
        self._begun, self._last_step = False, -1
        return True

    def step(self) -> dict[str, Any]:
        """Let the trial go on until its next report, or its end."""
        if self._number in self._ended:
            return {"done": True}
        try:
            if self._slot is None:
                self._slot = Slot(self._work)
            if not self._begun:
                self._begun = True
                self._slot.begin(self._number, self.config["params"])
            event = self._slot.next()
        except ExplrError as error:  # no process, or no training function, for any trial
            return {"done": True, "refused": str(error)}
        if isinstance(event, Report):
            self._last_step = event.step
            return {METRIC: event.value, STEP: event.step, "deaths": event.deaths}
        outcome = event.outcome
        result: dict[str, Any] = {
            "done": True,
            "state": outcome.state,
            "values": list(outcome.values),
            "reason": outcome.reason,
            "detail": outcome.detail,
            "deaths": event.deaths,
            STEP: self._last_step + 1,
        }
        if len(outcome.values) == 1:
            result[METRIC] = outcome.values[0]
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the training's own checkpoints, for another trial to go on from."""
        if self._slot is not None and self._slot.busy:
            source = self._slot.folder / CHECKPOINTS
            if source.is_dir():
                shutil.copytree(source, Path(checkpoint_dir, CHECKPOINTS), dirs_exist_ok=True)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Put another trial's checkpoints in place of this one's own."""
        source = Path(checkpoint, CHECKPOINTS)
        if not source.is_dir():
            return
        folder = self._work.folder_of(self._number) / CHECKPOINTS
        aside = folder.with_name(f".{CHECKPOINTS}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)

    def cleanup(self) -> None:
        """End whatever runs."""
        self._leave()
        if self._slot is not None:
            self._slot.close()

    @property
    def _number(self) -> int:
        return int(self.trial_id)

    def _leave(self) -> None:
        if self._slot is not None:
            self._slot.end(prune=self._prunes)
