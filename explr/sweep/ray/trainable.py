"""The Ray actor, which runs one trial of the sweep after the other."""

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

from explr.core.checkpoint import CHECKPOINTS
from explr.core.errors import ExplrError
from explr.core.signals import end_with
from explr.sweep.ray.messages import KnownEnd, Message, Refused, to_result
from explr.sweep.ray.private import EXPERIMENT_FILES, is_pruned
from explr.sweep.ray.slot import Slot, Work

log = logging.getLogger("explr.sweep")


def has_snapshot(folder: Path) -> bool:
    """Whether Ray left a complete snapshot of a sweep.

    Ray copies the files of a snapshot one by one. A kill may leave only some of them, and Ray would
    then fail at each resume. Without a snapshot the sweep resumes from its study alone.

    Args:
        folder: folder of Ray's files in the sweep's folder.
    """
    states = sorted(folder.glob(EXPERIMENT_FILES))
    if not states:
        return False
    try:
        return bool(json.loads(states[-1].read_bytes(), object_hook=_unpickled)["trial_data"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        log.warning("Ray's snapshot in %s is torn, schedulers start anew: %s", folder, error)
    except (ImportError, AttributeError) as error:
        log.warning(
            "Ray's snapshot in %s is from another version, schedulers start anew: %s", folder, error
        )
    return False


def _unpickled(node: dict[str, Any]) -> Any:
    """Unpickle the parts of a snapshot that Ray pickled into its JSON."""
    if node.get("_type") == "CLOUDPICKLE_FALLBACK":
        return cloudpickle.loads(bytes.fromhex(node["value"]))
    return node


class TrialTrainable(Trainable):
    """Runs the trials of one Ray actor."""

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        cwd: str,
        path: list[str],
        work: bytes,
        ended: frozenset[int],
    ) -> None:
        """Receive the first trial.

        Args:
            config: parameters of the trial.
            cwd: working directory of the sweep; the trials use it if it exists on this machine.
            path: `sys.path` of the sweep's process.
            work: the pickled `Work`, which all trials share.
            ended: trials that have ended, though Ray's last snapshot may not know it.
        """
        end_with(os.getppid())  # a Ray process, which ends with the sweep
        self._ended = ended
        self._slot: Slot | None = None
        self._begun = False
        self._refused: str | None = None
        if Path(cwd).is_dir():  # else Ray has unpacked the working directory here
            os.chdir(cwd)
        sys.path += [folder for folder in path if folder not in sys.path]
        try:
            self._work: Work = cloudpickle.loads(work)
        except ImportError as error:
            self._refused = f"the training function cannot be imported on {gethostname()}: {error}"

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Receive the next trial, which runs in a fresh process."""
        self._leave()
        self._begun = False
        return True

    def step(self) -> dict[str, Any]:
        """Run the trial until its next report, or its end."""
        return to_result(self._next())

    def _next(self) -> Message:
        if self._number in self._ended:
            return KnownEnd()
        if self._refused is not None:
            return Refused(self._refused)
        try:
            if self._slot is None:
                if self._work.limits.replicates > 1:
                    self._work.task.adopt()  # the config that has a replicate's seed is composed
                node = get_runtime_context().get_node_id()
                self._slot = Slot(self._work, self._work.pool(node))
            if not self._begun:
                self._begun = True
                self._slot.begin(self._number, self.config["params"])
            waits = self._work.prunes and self._slot.held
            return self._slot.next(prune=waits and is_pruned(self._work.token, self._number))
        except ExplrError as error:  # it concerns all trials: no process, or no training function
            return Refused(str(error))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the checkpoints of the training, for another trial to continue from.

        A training without checkpoints is refused at its next step: it would start anew each time.
        """
        if self._slot is None or (folder := self._slot.folder) is None:
            return
        source = folder / CHECKPOINTS
        if any(source.glob("step-*")):
            shutil.copytree(source, Path(checkpoint_dir, CHECKPOINTS), dirs_exist_ok=True)
        else:
            self._refused = (
                "this pruner resumes trials from checkpoints, but the training had saved none by "
                f"step {self._slot.last_step}: call ctx.save_checkpoint in it, or choose another "
                "tuner/pruner"
            )

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Replace the checkpoints of this trial with those of another one."""
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
        """Stop the running trial."""
        self._leave()
        if self._slot is not None:
            self._slot.close()

    @property
    def _number(self) -> int:
        return int(self.trial_id)

    def _leave(self) -> None:
        if self._slot is not None:
            self._slot.end()
