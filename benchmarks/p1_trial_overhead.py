"""P1: what one trial costs beside its training, in a sequential sweep of a foreign Hydra app.

TPE, 100 trials, three parameters, the three files of Hydra saved for each; both of explr's ways to
run a trial, in the process and in a fresh one.
"""

from __future__ import annotations

from functools import partial

from _sweeps import BARE_SWEEP, LR, run_sweep
from _timing import place, print_ratio

TRIALS, ROUNDS = 100, 3
AT_MOST = {"launcher basic": 0.10, "launcher explr_local": 0.15}
SEARCHED = (LR, "data.batch_size=choice(32, 64, 128)", "model.width=choice(16, 32, 64)")
OURS = ("hydra/sweeper=explr_optuna", f"hydra.sweeper.n_trials={TRIALS}")
PEERS = ("hydra/sweeper=optuna", f"hydra.sweeper.n_trials={TRIALS}", "hydra.sweeper.n_jobs=1")


def main() -> None:
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        run = partial(run_sweep, place=folder, environment=environment, trials=TRIALS)
        ways = {
            "launcher basic": (*BARE_SWEEP, *OURS, "hydra/launcher=basic", *SEARCHED),
            "launcher explr_local": (*BARE_SWEEP, *OURS, "hydra/launcher=explr_local", *SEARCHED),
            "peer": (*BARE_SWEEP, *PEERS, "hydra/launcher=basic", *SEARCHED),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS):
            for name in list(ways)[:: -1 if number % 2 else 1]:
                took[name].append(run(ways[name]).trial_s)
        peer = took.pop("peer")
        for name, own in took.items():
            what = f"P1 a trial's overhead, {name}"
            print_ratio(what, own, peer, "hydra-optuna-sweeper", AT_MOST[name])


if __name__ == "__main__":
    main()
