"""P2: overhead per trial if each is uploaded to MLflow: parameters, ten points, status.

explr's own app, each trial in a fresh process and its companion beside it, against
hydra-optuna-sweeper with a task that writes to SQLite through MLflow's client. The stores exist
before. First as the sweep sees it; then until the command has ended with all rows in the store,
which for explr includes that its companion imports MLflow.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from _sweeps import LR, Swept, run_sweep
from _timing import EXPLR, HERE, checked, place, print_ratio, wait_until_gone
from mlflow_sweep import POINTS

TRIALS, ROUNDS = 50, 3
AT_MOST, AT_MOST_IN_ALL = 0.20, 0.30
OURS = (
    EXPLR,
    f"train_model={HERE / 'sweep_trainings.py'}:ten_points",
    "tuner=optuna",
    "tuner/pruner=none",
    *(f"tuner.sampler.{name}=false" for name in ("multivariate", "group", "constant_liar")),
    "tracking.drain_timeout_s=120",
)
PEERS = (
    *(sys.executable, str(HERE / "mlflow_sweep.py")),
    *("hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=42"),
    f"hydra.sweeper.n_trials={TRIALS}",
)


def main() -> None:
    from mlflow import MlflowClient

    with place(EXPLR_AUTOSTART="0", MLFLOW_DISABLE_TELEMETRY="true") as (folder, environment):
        ours = folder / "home" / "mlflow.db"
        checked((*OURS, "tuner.n_trials=1", LR, "-m"), folder, environment)
        peers = folder / "peer.db"
        uri = f"sqlite:///{peers}"
        environment |= {
            "BENCH_STORE": uri,
            "BENCH_EXPERIMENT": MlflowClient(uri).create_experiment("bench"),
        }
        own: list[Swept] = []
        other: list[Swept] = []
        for number in range(ROUNDS):
            for side in (0, 1) if number % 2 else (1, 0):
                wait_until_gone(folder / "home")
                if side:
                    command = (*OURS, f"tuner.n_trials={TRIALS}", LR)
                    own.append(run_sweep(command, folder, environment, TRIALS))
                else:
                    other.append(run_sweep((*PEERS, LR), folder, environment, TRIALS))
        # The first, unmeasured run of explr has a sweep and a trial.
        check_store(ours, runs=2 + ROUNDS * (TRIALS + 1), points=POINTS * (1 + ROUNDS * TRIALS))
        check_store(peers, runs=ROUNDS * TRIALS, points=POINTS * ROUNDS * TRIALS)
        peer = "hydra-optuna-sweeper with MLflow's client"
        print_ratio(
            "P2 a tracked trial",
            [swept.trial_s for swept in own],
            [swept.trial_s for swept in other],
            peer,
            AT_MOST,
        )
        print_ratio(
            "P2 a tracked trial, until the command ends with all in MLflow",
            [until_all(swept) for swept in own],
            [until_all(swept) for swept in other],
            peer,
            AT_MOST_IN_ALL,
        )


def until_all(swept: Swept) -> float:
    """Seconds a trial from the first one's start to the end of the command."""
    return (swept.end - swept.starts[0]) / TRIALS


def check_store(path: Path, runs: int, points: int) -> None:
    """Check that all data arrived, with the final status."""
    with sqlite3.connect(path) as store:
        (finished,) = store.execute(
            "select count(*) from runs where status = 'FINISHED'"
        ).fetchone()
        (losses,) = store.execute("select count(*) from metrics where key = 'val_loss'").fetchone()
    if (finished, losses) != (runs, points):
        sys.exit(f"{path.name} has {finished} of {runs} runs, {losses} of {points} points")


if __name__ == "__main__":
    main()
