"""P12: `explr resume` of a sweep with many finished trials, until the next trial starts.

From the start of the command to the first line of the next trial's training, with three parameters,
the default sampler and pruner, a fresh process for the trial, and tracking. `_journals.py` makes
the study. Beside it: how long the whole command takes. `p12_resume.py 20000x100 …` takes other
numbers of trials and reports.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from statistics import median

from _journals import STUDY, Size, sizes_of, write_journal
from _sweeps import LR
from _timing import EXPLR, HERE, checked, place, pretty, verdict, wait_until_gone

from explr.core.folders import COMMAND, write_json

SEARCHED = (LR, "batch_size=choice(32, 64, 128)", "width=choice(16, 32, 64)")
SHORT, LONG, ROUNDS = Size(5000, 10), Size(20000, 100), 3
AT_MOST_S = (5.0, 15.0)
"""For a sweep like the short one, and for a longer one."""


def main(sizes: list[Size]) -> None:
    for size in sizes:
        reached_s, whole_s = resume(size)
        at_most_s = AT_MOST_S[size.trials > SHORT.trials]
        print(
            f"P12 resuming {size}, until the next starts: {pretty(reached_s)}, "
            f"target ≤ {pretty(at_most_s)}: {verdict(reached_s <= at_most_s)}; "
            f"to the end of the command {pretty(whole_s)}",
            flush=True,
        )


def resume(size: Size) -> tuple[float, float]:
    """Resume a sweep that lacks one trial.

    Returns:
        Seconds until the trial starts, and until the command has ended; medians.
    """
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        built = folder / "built"
        build(built, folder, size)
        took = []
        for number in range(ROUNDS):
            sweep = folder / f"sweep-{number}"
            shutil.copytree(built, sweep)
            begin = time.monotonic_ns()
            checked((EXPLR, "resume", str(sweep)), folder, environment)
            end = time.monotonic_ns()
            reached = int((sweep / str(size.trials) / "reached").read_text())
            took.append(((reached - begin) / 1e9, (end - begin) / 1e9))
            wait_until_gone(folder / "home")
            shutil.rmtree(sweep)
    reached_s, whole_s = zip(*took, strict=True)
    return median(reached_s), median(whole_s)


def build(sweep: Path, cwd: Path, size: Size) -> None:
    """Make the folder of a sweep that lacks one trial.

    Args:
        sweep: the folder.
        cwd: where its command was started.
        size: how long the sweep was.
    """
    sweep.mkdir()
    write_journal(sweep, SEARCHED, size)
    training = f"train_model={HERE / 'sweep_trainings.py'}:tell_start"
    argv = [EXPLR, "tuner=optuna", f"tuner.n_trials={size.trials + 1}", training, "-m", *SEARCHED]
    write_json(sweep / COMMAND, {"study": STUDY, "argv": argv, "cwd": str(cwd)})


if __name__ == "__main__":
    main(sizes_of(sys.argv[1:], (SHORT, LONG)))
