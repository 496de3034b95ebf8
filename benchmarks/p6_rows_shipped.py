"""P6: metric rows per second uploaded to a SQLite store, compared with MLflow's own client.

Each round uploads its own journal to one store; the peers write as many rows, or as many as
they can be waited for, into runs of the same store.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from _timing import place, verdict

from explr.tracking.destination import Destination
from explr.tracking.mlflow.sink import MLflowSink
from explr.tracking.mlflow.store import connect
from explr.tracking.run import open_run
from explr.tracking.shipping.run_upload import RunUpload

ROUNDS = 5
STEPS, NAMES = 2000, 10
"""Steps of a journal, each with as many metrics as there are names."""
SINGLE = 200
"""Calls of `log_metric` in a round."""
AT_LEAST = 20_000.0


def main() -> None:
    with place(EXPLR_AUTOSTART="0") as (folder, environment):
        os.environ.update(environment)
        uri = Destination().resolved_uri
        client = connect(uri)
        experiment = client.create_experiment("peers")
        own, batches, singles = [], [], []
        for number in range(ROUNDS + 1):
            measured = (
                ship(folder / str(number), uri, client),
                log_batches(client, experiment),
                log_singly(client, experiment),
            )
            if number:  # the first round warms up
                for rates, rate in zip((own, batches, singles), measured, strict=True):
                    rates.append(rate)
    middle = median(own)
    print(
        f"P6 rows shipped to SQLite: explr {middle:.0f} a second, of {STEPS * NAMES} none lost; "
        f"MLflow's log_batch of 1000 {median(batches):.0f} (ratio {middle / median(batches):.2f}), "
        f"log_metric {median(singles):.0f}; "
        f"target ≥ {AT_LEAST:.0f}: {verdict(middle >= AT_LEAST)}"
    )


def ship(folder: Path, uri: str, client) -> float:
    """Rows per second from a journal to the store; checks that all of them arrived."""
    folder.mkdir()
    run = open_run(
        folder, Destination(companion=False), experiment="bench", name="x", params={}, tags={}
    )
    for step in range(STEPS):
        run.tracker.log_metrics({f"m{i}": step / (i + 1) for i in range(NAMES)}, step=step)
    run.close("FINISHED")
    sink = MLflowSink(uri)
    sink.connect()
    begin = time.perf_counter()
    upload = RunUpload(sink, run.journal.path)
    while upload.advance():
        pass
    rate = STEPS * NAMES / (time.perf_counter() - begin)
    for i in range(NAMES):
        history = client.get_metric_history(run.position.run_id, f"m{i}")
        if sorted(m.step for m in history) != list(range(STEPS)):
            raise SystemExit(f"metric m{i} has {len(history)} rows, and not {STEPS}")
    return rate


def log_batches(client, experiment: str) -> float:
    """Rows per second with MLflow's own batches."""
    from mlflow.entities import Metric

    run_id = client.create_run(experiment).info.run_id
    now = int(time.time() * 1000)
    rows = [Metric(f"m{i}", s / (i + 1), now, s) for s in range(STEPS) for i in range(NAMES)]
    begin = time.perf_counter()
    for first in range(0, len(rows), 1000):
        client.log_batch(run_id, metrics=rows[first : first + 1000])
    return len(rows) / (time.perf_counter() - begin)


def log_singly(client, experiment: str) -> float:
    """Rows per second with one call per row."""
    run_id = client.create_run(experiment).info.run_id
    begin = time.perf_counter()
    for step in range(SINGLE):
        client.log_metric(run_id, "m", step / 3, step=step)
    return SINGLE / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
