"""P7: from the command to the first line of `train_model`, tracking on, beside a bare Hydra app."""

from __future__ import annotations

from pathlib import Path

from _timing import (
    BARE_APP,
    EXPLR,
    TRAININGS,
    alternate,
    place,
    print_ratio,
    started_after,
    wait_until_gone,
)


def main() -> None:
    # No server: it would slow down the runs that follow.
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        command = (EXPLR, f"train_model={TRAININGS}:at_once")

        def ours() -> float:
            seconds = started_after(command, folder, environment, "started")
            wait_until_gone(Path(environment["EXPLR_HOME"]))
            return seconds

        def peers() -> float:
            return started_after(BARE_APP, folder, environment, "started")

        print_ratio("P7 start of a training", *alternate(ours, peers), "bare Hydra app", 1.5)


if __name__ == "__main__":
    main()
