"""What Ray Tune trains: an actor that runs one trial of the sweep after the other."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
from pathlib import Path
from socket import gethostname
from typing import Any

import cloudpickle
from ray import get_runtime_context
from ray.tune import Trainable

from explr.core.errors import ExplrError
from explr.core.signals import end_with
from explr.sweep.ray.messages import KnownEnd, Message, Refused, to_result
from explr.sweep.ray.private import EXPERIMENT_FILES
from explr.sweep.ray.slot import Slot, Work

log = logging.getLogger("explr.sweep")


def has_snapshot(folder: Path) -> bool:
    """Whether Ray left a whole snapshot of a sweep.

    Ray copies its files there one by one: a kill meanwhile leaves a part, on which it would fail
    each time. Without a snapshot the sweep is resumed from its study alone.

    Args:
        folder: folder of Ray's own files within the sweep's.
    """
    states = sorted(folder.glob(EXPERIMENT_FILES))
    if not states:
        return False
    try:
        return bool(json.loads(states[-1].read_bytes(), object_hook=_unpickled)["trial_data"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("Ray's snapshot in %s is torn, schedulers begin anew: %s", folder, error)
    except (ImportError, AttributeError) as error:
        log.warning(
            "Ray's snapshot in %s is another version's, schedulers begin anew: %s", folder, error
        )
    return False


def _unpickled(node: dict[str, Any]) -> Any:
    """What Ray makes of a node of its snapshot: some are pickled, as no JSON can hold them."""
    if node.get("_type") == "CLOUDPICKLE_FALLBACK":
        return cloudpickle.loads(bytes.fromhex(node["value"]))
    return node


CHECKPOINTS = "checkpoints"
"""Folder of a training's checkpoints within its own folder."""


class TrialTrainable(Trainable):
    """Runs the trials that Ray gives to one actor."""

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        cwd: str,
        path: list[str],
        work: bytes,
        ended: frozenset[int],
        prunes: bool,
    ) -> None:
        """Take in the first trial.

        Args:
            config: parameters of the trial.
            cwd: working directory of the sweep, which is the trials' too where it exists.
            path: where the sweep's own process looks for modules.
            work: what all trials are made of, a `Work`, pickled by ourselves.
            ended: trials that have ended, though Ray's last snapshot may not know it.
            prunes: a trial that Ray ends is pruned; otherwise it is resumed elsewhere.
        """
        end_with(os.getppid())  # Ray's own process, which ends with the sweep that started it
        self._ended, self._prunes = ended, prunes
        self._slot: Slot | None = None
        self._begun = False
        self._refused: str | None = None
        if Path(cwd).is_dir():  # else Ray has unpacked the sweep's modules where this runs
            os.chdir(cwd)
        sys.path += [folder for folder in path if folder not in sys.path]
        try:
            self._work: Work = cloudpickle.loads(work)
        except ImportError as error:
            self._refused = f"the training function cannot be imported on {gethostname()}: {error}"

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take in the next trial: each has a process of its own, so that nothing is left over."""
        self._leave()
        self._begun = False
        return True

    def step(self) -> dict[str, Any]:
        """Let the trial go on until its next report, or its end."""
        return to_result(self._next())

    def _next(self) -> Message:
        if self._number in self._ended:
            return KnownEnd()
        if self._refused is not None:
            return Refused(self._refused)
        try:
            if self._slot is None:
                node = get_runtime_context().get_node_id()
                self._slot = Slot(self._work, self._work.pool(node))
            if not self._begun:
                self._begun = True
                self._slot.begin(self._number, self.config["params"])
            return self._slot.next()
        except ExplrError as error:  # no process, or no training function, for any trial
            return Refused(str(error))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the training's own checkpoints, for another trial to go on from.

        A training that saves none is refused at its next step: it would begin anew each time.
        """
        if self._slot is None or (folder := self._slot.folder) is None:
            return
        source = folder / CHECKPOINTS
        if source.is_dir() and any(source.iterdir()):
            shutil.copytree(source, Path(checkpoint_dir, CHECKPOINTS), dirs_exist_ok=True)
        else:
            self._refused = (
                "this pruner has trials go on from checkpoints, but the training had saved none by "
                f"step {self._slot.last_step}: call ctx.save_checkpoint in it, or choose another "
                "tuner/pruner"
            )

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
