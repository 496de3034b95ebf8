"""P18: the first command of a new EXPLR_HOME beside the next one, from its start to its end.

The training is empty. The second command begins when all of the first is in MLflow. The server
starts by itself, as it does for a user.
"""

from __future__ import annotations

from _timing import EXPLR, TRAININGS, checked, place, print_ratio, whole

PAIRS = 5


def main() -> None:
    first, second = [], []
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        checked((EXPLR, f"train_model={TRAININGS}:at_once"), folder, environment)  # a warm-up
    for _ in range(PAIRS):
        with place() as (folder, environment):
            command = (EXPLR, f"train_model={TRAININGS}:at_once")
            first.append(whole(command, folder, environment))
            checked((EXPLR, "sync"), folder, environment)
            second.append(whole(command, folder, environment))
    print_ratio("P18 first command of a new EXPLR_HOME", first, second, "the next one", 1.3)


if __name__ == "__main__":
    main()
