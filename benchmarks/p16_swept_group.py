"""P16: composing the config of a trial where a config group is swept, beside Hydra's own way.

explr composes each option once; what Hydra's sweepers do for each trial is measured in turn. The
mean counts the first compositions too.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from statistics import mean, median

from _timing import pretty, verdict

from explr.config.hydra_private import create_app, search_path_of, silent_context
from explr.config.hydra_versions import compose_sweep
from explr.launching.hydra_job import HydraTask
from explr.sweep.space import SweepSpace

TRIALS = 100
OPTIONS = ("small", "medium", "large")
AT_MOST_S = 8e-3
LINE = [f"model={','.join(OPTIONS)}", "lr=interval(1e-5, 1e-1)"]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="explr-bench-") as name:
        write_tree(Path(name))
        app = create_app("bench", search_path_of(name))
        config, loader = compose_sweep(app, "config", LINE), app.config_loader
        space = SweepSpace(config, loader, {}, LINE)
        task = HydraTask(config, silent_context(app), print, space.example)
        draw = random.Random(0)
        own: list[float] = []
        peers: list[float] = []
        for number in range(TRIALS):
            job = space.job(number, {"model": draw.choice(OPTIONS), "lr": draw.random()}, {})
            begin = time.perf_counter()
            ours = task.config_of(job, own_process=False)
            own.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            theirs = loader.load_sweep_config(config, job.overrides)
            peers.append(time.perf_counter() - begin)
            assert (ours.model, ours.lr) == (theirs.model, theirs.lr)
    print(
        f"P16 composing a trial with a swept group: explr {pretty(mean(own))} on average, median "
        f"{pretty(median(own))}; Hydra {pretty(mean(peers))}, ratio {mean(own) / mean(peers):.2f}; "
        f"target ≤ {pretty(AT_MOST_S)}: {verdict(mean(own) <= AT_MOST_S)}"
    )


def write_tree(folder: Path) -> None:
    """A primary config and a group with `OPTIONS`."""
    (folder / "model").mkdir()
    for number, option in enumerate(OPTIONS):
        text = f"name: {option}\nwidth: {32 << number}\ndepth: {number + 2}\n"
        (folder / "model" / f"{option}.yaml").write_text(text)
    (folder / "config.yaml").write_text("defaults: [_self_, {model: small}]\nlr: 0.1\nseed: 1\n")


if __name__ == "__main__":
    main()
