"""Starts Ray on this machine for the sweep, or connects to a running cluster."""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from explr.core.config import RayClusterConfig
from explr.core.errors import MissingDependencyError, UsageError
from explr.core.secrets.shapes import without_user_info
from explr.sweep.ray.guard import guarded
from explr.tracking.destination import TRACKING_URI
from explr.tracking.home import is_local_store
from explr.utils.processes import ProcessIdentity, identity_of, is_alive
from explr.utils.scratch import SOCKET_PATH, remove_left, short_folder
from explr.utils.settings import check_home

log = logging.getLogger("explr.sweep")

OBJECT_STORE_BYTES = 200 * 2**20
"""Bytes of shared memory for a local Ray; only the config passes through it."""

LEFT_BEHIND = ["multirun", "outputs", ".git", ".venv", "mlruns", "__pycache__"]
"""Parts of the working directory that are not sent to a cluster."""

CORE = ("raylet", "gcs_server")
"""Names of the processes that Ray consists of."""

TOKEN = "RAY_AUTH_TOKEN"
"""Variable with the secret that Ray's processes know each other by."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Host names that only this machine can reach."""


VARIABLES = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_prestart_worker_first_driver": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Environment for Ray Tune: it keeps the working directory, prints nothing, and starts no workers
but the actors of trials."""


RAY_PATH = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Bytes that Ray adds to its temporary folder for the path of a socket."""


@contextmanager
def ray_cluster(settings: RayClusterConfig, n_jobs: int, cpus: float) -> Iterator[Any]:
    """Start Ray or connect to it; shut down what was started here.

    Args:
        settings: which Ray.
        n_jobs: trials at the same time.
        cpus: CPUs of each trial.

    Yields:
        The module `ray`.

    Raises:
        MissingDependencyError: Ray is not installed.
        UsageError: the cluster cannot be reached.
    """
    ray = ray_module()
    variables = {**VARIABLES, "TUNE_MAX_PENDING_TRIALS_PG": str(n_jobs)}
    if settings.address is None and not ray.is_initialized():
        variables |= {**_own_folder(), **_own_token()}
    with _environment(variables):
        if ray.is_initialized():
            log.info("Ray: the instance that this process is already connected to")
            yield ray
            return
        _init(ray, settings, n_jobs, cpus)
        try:
            with guarded() if settings.address is None else nullcontext():
                yield ray
        finally:
            ray.shutdown()
            remove_left()  # an actor that was killed has left its folders


def ray_module() -> Any:
    """The module `ray`, with Ray Tune.

    Raises:
        MissingDependencyError: it is not installed.
        UsageError: it needs a home folder.
    """
    check_home("tuner=ray")
    try:
        import ray
        import ray.tune
    except ImportError:
        raise MissingDependencyError(
            "tuner=ray needs Ray Tune: pip install 'explr-train[ray]'"
        ) from None
    return ray


class RayDied(BaseException):
    """Ray's own processes are gone.

    Not an `Exception`: at one of those Ray's loop waits for its trials, which are gone too.
    """


class RayProcesses:
    """The processes of Ray on this machine that no sweep can do without.

    When one of them is gone, Ray ends the process of the sweep some seconds later, at once and
    without an exception.

    Args:
        ray: the module `ray`, connected.
    """

    LOOK_EVERY_S = 0.2

    def __init__(self, ray: Any) -> None:
        import psutil

        node = ray.get_runtime_context().get_node_id()
        marks = {f"--node_id={node}", f"--node-id={node}"}
        self._processes: dict[str, ProcessIdentity] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if process.name() in CORE and not marks.isdisjoint(process.cmdline()):
                    self._processes[process.name()] = identity_of(process.pid)
        self._looked_at = time.monotonic()

    def check(self) -> None:
        """Do nothing, unless one of the processes is gone.

        Raises:
            RayDied: it names the process.
        """
        if time.monotonic() - self._looked_at < self.LOOK_EVERY_S:
            return
        self._looked_at = time.monotonic()
        for name, identity in self._processes.items():
            if not is_alive(identity):
                raise RayDied(name)


def tracking_variables(nodes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Environment variables that say where runs are recorded.

    Args:
        nodes: nodes of the cluster, as `ray.nodes` returns them; with several machines, folders of
            this machine are left out.
    """
    found = {k: v for k, v in os.environ.items() if k.startswith("EXPLR_") or k == TRACKING_URI}
    if _other_machines(nodes):
        found.pop("EXPLR_HOME", None)
    return found


def gpus_per_trial(settings: RayClusterConfig, n_jobs: int, gpus: float, several: int = 1) -> float:
    """GPUs of each trial: the configured number, else an equal part of all GPUs.

    Args:
        settings: the configured resources.
        n_jobs: trials at the same time.
        gpus: GPUs of the cluster.
        several: GPUs that a trial needs if it has several.

    Raises:
        UsageError: there are fewer GPUs; a running cluster is not checked, because it may grow.
    """
    if several > 1 and settings.gpus_per_trial is None and gpus:
        if settings.address is None and several > gpus:
            raise UsageError(
                f"each trial needs {several} GPUs (gpu.per_trial, framework.processes), but Ray "
                f"finds {gpus:g}"
            )
        return float(several)
    if settings.gpus_per_trial is not None:
        if settings.address is None and settings.gpus_per_trial > gpus:
            raise UsageError(
                f"tuner.ray.gpus_per_trial={settings.gpus_per_trial:g}, but Ray finds {gpus:g} GPUs"
            )
        return settings.gpus_per_trial
    if gpus >= n_jobs:
        return 1.0
    return 1 / math.ceil(n_jobs / gpus) if gpus else 0.0


def warn_of_local_store(nodes: Sequence[Mapping[str, Any]], uri: str | None) -> None:
    """Warn if trials may run on machines that cannot reach MLflow.

    Args:
        nodes: nodes of the cluster, as `ray.nodes` returns them.
        uri: tracking URI of the trials; None if they are not tracked.
    """
    others = _other_machines(nodes)
    if others and uri is not None and _is_of_one_machine(uri):
        log.warning(
            "MLflow is at %s, which trials on %s cannot reach: set tracking.uri or "
            "MLFLOW_TRACKING_URI to a server that they can",
            without_user_info(uri),
            ", ".join(sorted(others)),
        )


def _own_folder() -> dict[str, str]:
    """The environment in which Ray's files lie in a folder that only this user can enter.

    Ray gives everybody access to its own folder, with its logs and sockets. The folder stays, for
    the logs. Its path must be short enough for the sockets.

    Raises:
        UsageError: somebody else has made a folder of this name.
    """
    name = f"explr-ray-{os.getuid()}"
    base = short_folder(SOCKET_PATH - RAY_PATH - len(f"/{name}"))
    if base is None or "RAY_TMPDIR" in os.environ:
        return {}
    folder = Path(base, name)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(
            f"{folder} is not a folder that only you can enter: remove it, or set RAY_TMPDIR"
        )
    return {"RAY_TMPDIR": str(folder)}


@cache
def _token() -> str:
    return secrets.token_hex(32)


def _own_token() -> dict[str, str]:
    """The environment in which a Ray of this machine accepts nobody who lacks its token.

    Ray listens on all interfaces. Its processes inherit the token; the system shows their
    environment to this user alone.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return {}
    return {"RAY_AUTH_MODE": "token", TOKEN: _token()}


def _other_machines(nodes: Sequence[Mapping[str, Any]]) -> set[str]:
    return {node["NodeManagerHostname"] for node in nodes if node["Alive"]} - {socket.gethostname()}


def _is_of_one_machine(uri: str) -> bool:
    return is_local_store(uri) or urlsplit(uri).hostname in LOOPBACK or uri.startswith("file:")


def _init(ray: Any, settings: RayClusterConfig, n_jobs: int, cpus: float) -> None:
    from explr.sweep.ray.private import without_aside

    address = settings.address
    if address is not None and address.startswith("ray://"):
        raise UsageError(
            f"tuner.ray.address={address}: a sweep runs on a machine of the cluster itself; give "
            "the address of its head node, as host:6379, or auto"
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    runtime_env: dict[str, Any] = dict(settings.runtime_env)
    if address is None:
        # Named, because Ray would otherwise connect to the address in RAY_ADDRESS.
        quiet |= {
            "address": "local",
            "num_cpus": max(1, math.ceil(n_jobs * cpus)),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    else:
        quiet["address"] = address
        runtime_env["env_vars"] = {**VARIABLES, **runtime_env.get("env_vars", {})}
        runtime_env.setdefault("working_dir", os.getcwd())
        runtime_env.setdefault("excludes", LEFT_BEHIND)
    if runtime_env:
        quiet["runtime_env"] = runtime_env
    arguments = {**quiet, **settings.init}
    with_dashboard = address is not None or arguments["include_dashboard"] is not False
    try:
        with nullcontext() if with_dashboard else without_aside():
            context = ray.init(**arguments)
    except (ConnectionError, RuntimeError, ValueError, TypeError, OSError) as error:
        if "AF_UNIX" in str(error):
            folder = settings.init.get("_temp_dir") or os.environ.get("RAY_TMPDIR", "")
            raise UsageError(
                f"Ray's folder {folder} has a name that is too long for its sockets: set "
                "RAY_TMPDIR to a shorter one"
            ) from None
        where = f"the cluster at {address}" if address else "Ray"
        raise UsageError(f"{where} cannot be used: {str(error).splitlines()[0]}") from None
    logs = Path(context.address_info["session_dir"], "logs")
    if address is None:
        log.info("Ray: started on this machine, logs in %s", logs)
    else:
        nodes = sum(node["Alive"] for node in ray.nodes())
        log.info("Ray: the cluster at %s with %d nodes, logs in %s", address, nodes, logs)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs; variables of the user are kept."""
    from explr.sweep.ray.private import read_authentication_again

    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: text for name, text in variables.items() if before[name] is None})
    if TOKEN in variables:
        read_authentication_again()
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                os.environ.pop(name, None)
        if TOKEN in variables:
            read_authentication_again()
