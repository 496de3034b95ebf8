"""P12: `explr resume` of a sweep with 5,000 finished trials, until the next trial starts.

The study is built by explr's own: ten reports a trial, three parameters, every third trial pruned.
From the start of the command to the first line of the next trial's training, with the default
sampler and pruner, a fresh process for the trial, and tracking.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from statistics import median

from _sweeps import LR
from _timing import EXPLR, HERE, checked, place, pretty, verdict, wait_until_gone
from optuna.samplers import RandomSampler

from explr.sweep.folder import COMMAND_FILE
from explr.tuning.search_space import parse
from explr.tuning.study import Study

SEARCHED = (LR, "batch_size=choice(32, 64, 128)", "width=choice(16, 32, 64)")
FINISHED, POINTS, ROUNDS, AT_MOST_S = 5000, 10, 3, 5.0


def main() -> None:
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        built = folder / "built"
        build(built, folder)
        took = []
        for number in range(ROUNDS):
            sweep = folder / f"sweep-{number}"
            shutil.copytree(built, sweep)
            begin = time.monotonic_ns()
            checked((EXPLR, "resume", str(sweep)), folder, environment)
            reached = int((sweep / str(FINISHED) / "reached").read_text())
            took.append((reached - begin) / 1e9)
            wait_until_gone(folder / "home")
    middle = median(took)
    print(
        f"P12 resuming {FINISHED} trials, until the next starts: {pretty(middle)}, "
        f"target ≤ {pretty(AT_MOST_S)}: {verdict(middle <= AT_MOST_S)}",
        flush=True,
    )


def build(sweep: Path, cwd: Path) -> None:
    """Make the folder of a sweep that lacks one trial.

    Args:
        sweep: the folder.
        cwd: where its command was started.
    """
    sweep.mkdir()
    space, _ = parse(dict(text.split("=", 1) for text in SEARCHED))
    study = Study(sweep, "bench", ["minimize"])
    study.use(RandomSampler(seed=0), None)
    draw = random.Random(0)
    for _ in range(FINISHED):
        number, params = study.ask(lambda values: space)
        study.begin_attempt(number)
        pruned = number % 3 == 0
        for step in range(POINTS // 2 if pruned else POINTS):
            study.report(number, step, params["lr"] + draw.random() / (step + 1))
        study.tell(number, "PRUNED" if pruned else "COMPLETE", () if pruned else (params["lr"],))
    training = f"train_model={HERE / 'sweep_trainings.py'}:tell_start"
    argv = [EXPLR, "tuner=optuna", f"tuner.n_trials={FINISHED + 1}", training, "-m", *SEARCHED]
    (sweep / COMMAND_FILE).write_text(json.dumps({"argv": argv, "cwd": str(cwd)}))


if __name__ == "__main__":
    main()
