"""Journals of long sweeps, for the benchmarks that go on where many trials have ended.

The first trials are run by explr's own study, and every third one is pruned halfway. Their lines
are then repeated under the numbers of the following trials, so that a journal of 20,000 trials with
100 reports each (240 MB) takes seconds. Values repeat themselves; explr does not see that.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.samplers import RandomSampler

from explr.tuning.search_space import parse
from explr.tuning.storage.journal import STUDY_FILE
from explr.tuning.study import Study

STUDY = "bench"
"""Name of the study."""

RUN = 99
"""Trials that are run; their lines are repeated."""

NUMBER = re.compile(rb'(?<="trial_id":)\d+')


@dataclass(frozen=True)
class Size:
    """How long a sweep is.

    Args:
        trials: number of trials.
        reports: reports of each trial.
    """

    trials: int
    reports: int

    def __str__(self) -> str:
        return f"{self.trials:,} trials with {self.reports} reports"


def sizes_of(arguments: Sequence[str], otherwise: Sequence[Size]) -> list[Size]:
    """Sizes that a command line names, as in 20000x100."""
    try:
        return [Size(*map(int, text.split("x"))) for text in arguments] or list(otherwise)
    except (TypeError, ValueError):
        sys.exit(f"sizes are written as 20000x100, got {' '.join(arguments)}")


def write_journal(sweep: Path, searched: Sequence[str], size: Size) -> None:
    """Write the journal of a sweep whose trials have ended.

    Args:
        sweep: folder of the sweep.
        searched: ranges in Hydra's sweep grammar; one of them is `lr`.
        size: how long it is.
    """
    space, _ = parse(dict(text.split("=", 1) for text in searched))
    study = Study(sweep, STUDY, ["minimize"])
    study.use(RandomSampler(seed=0), None)
    journal = sweep / STUDY_FILE
    head = journal.stat().st_size
    draw = random.Random(0)
    for _ in range(min(RUN, size.trials)):
        number, params = study.ask(lambda values: space)
        study.begin_attempt(number)
        pruned = number % 3 == 0
        for step in range(size.reports // 2 if pruned else size.reports):
            study.report(number, step, params["lr"] + draw.random() / (step + 1))
        study.tell(number, "PRUNED" if pruned else "COMPLETE", () if pruned else (params["lr"],))
    lines = journal.read_bytes()[head:].splitlines(keepends=True)
    begins = [i for i, line in enumerate(lines) if line.startswith(b'{"op_code":4,')]
    trials = [b"".join(lines[i:j]) for i, j in zip(begins, [*begins[1:], None], strict=True)]
    with journal.open("ab") as file:
        for number in range(len(trials), size.trials):
            file.write(NUMBER.sub(b"%d" % number, trials[number % RUN]))
