"""Every use of MLflow that it does not document.

Read in mlflow 3.17.2. On an upgrade this file is the one to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def count_rows(client: MlflowClient, run_id: str, metric: str) -> int:
    """How many rows a metric of a run has.

    They are read in pages, since there may be millions. `get_metric_history` of the client holds
    all of them at once; that of its store gives pages. Read in 3.17.2.
    """
    from mlflow.store.tracking import GET_METRIC_HISTORY_MAX_RESULTS

    store = client._tracking_client.store
    count, token = 0, None
    while True:
        page = store.get_metric_history(run_id, metric, GET_METRIC_HISTORY_MAX_RESULTS, token)
        count += len(page)
        token = page.token
        if not token:
            return count
