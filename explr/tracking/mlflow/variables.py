"""MLflow's environment variables that change how an upload behaves, and what explr does about each.

They are set for the processes that upload. A training keeps the values of its user, also within
`mlflow_run()`, but that no proxy is used for a server on this machine.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from explr.utils.environment import past_proxies

FIXED: dict[str, str | None] = {
    # A thread would send the rows after the call has returned, and only log its failures.
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    # MLflow would repeat a request whose reply was lost, and so create a second run. The upload
    # repeats it itself, and looks for the run by its tag first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # Nothing is repeated, and MLflow refuses every request for a factor that it finds too large.
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": None,
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": None,
    # Which run and experiment a journal goes to is written in it.
    "MLFLOW_RUN_ID": None,
    "MLFLOW_EXPERIMENT_ID": None,
    "MLFLOW_EXPERIMENT_NAME": None,
    # Every row would be added to a model too, or be refused if there is no such model.
    "MLFLOW_ACTIVE_MODEL_ID": None,
    "_MLFLOW_ACTIVE_MODEL_ID": None,
    # The machine is measured by explr, and once.
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    # explr shortens long values itself, so that MLflow cuts and refuses none.
    "MLFLOW_TRUNCATE_LONG_VALUES": "true",
    # What MLflow prints meanwhile: links to runs, progress bars, its SQL with all values, hints.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SQLALCHEMYSTORE_ECHO": "false",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
}
"""Variables whose values an upload relies on, whatever the user has set; None unsets one."""

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own 120 would hold up other runs
}
"""Values for variables that the user has not set."""

# Everything else stays as the user has set it: the address, credentials, certificates and
# workspace of the server, the settings of artifact stores and their uploads in parts, pools of
# database connections. What they break is an error that is told, and no row is lost. Variables
# of traces, models, evaluations, gateways and servers do not concern an upload. MLflow has no
# variable for the size of a batch of rows: `rows` keeps to its limits.


def settle(environment: MutableMapping[str, str], uri: str = "") -> None:
    """Set MLflow's variables for a process that uploads.

    Args:
        environment: `os.environ` of that process, before it uses MLflow.
        uri: address of the store.
    """
    for name, value in FIXED.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    for name, value in DEFAULTS.items():
        environment.setdefault(name, value)
    environment.update(past_proxies(environment, uri))
