"""P7: from the command to the first line of `train_model`, tracking on, beside a bare Hydra app.

explr's command in the folder of the training, and `python my_training.py`.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from _timing import (
    BARE_APP,
    EXPLR,
    HERE,
    TRAININGS,
    alternate,
    place,
    print_ratio,
    started_after,
    wait_until_gone,
)

SCRIPT = (sys.executable, str(HERE / "training_script.py"))


def main() -> None:
    # No server: it would slow down the runs that follow.
    with place(EXPLR_AUTOSTART="0") as (folder, environment):

        def started(command: Sequence[str]) -> float:
            seconds = started_after(command, folder, environment, "started")
            wait_until_gone(Path(environment["EXPLR_HOME"]))
            return seconds

        shutil.copy(TRAININGS, folder)
        for name, command in {
            "P7 start of a training": (EXPLR, f"train_model={TRAININGS.name}:at_once"),
            "P7 start of a script": SCRIPT,
        }.items():
            measured = alternate(lambda c=command: started(c), lambda: started(BARE_APP))
            print_ratio(name, *measured, "bare Hydra app", 1.1)


if __name__ == "__main__":
    main()
