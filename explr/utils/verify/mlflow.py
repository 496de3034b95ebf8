"""MLflow's server as `explr verify` looks at it: whether it lives, lets a client in, and suits it.

Its health page answers whatever the host's name; so a real call is made as well.
"""

from __future__ import annotations

import base64
import os
import sys
import urllib.request
from importlib.metadata import version
from typing import Any

from explr.core.errors import one_line
from explr.core.secrets.shapes import without_user_info
from explr.utils.environment import opener_for
from explr.utils.verify.check import Check, Probe, failed, passed, tell, warned

HEALTH, CALL, VERSIONS = "MLflow's health", "MLflow's API", "MLflow's versions"

TIMEOUT_S = 15
FORBIDDEN, UNAUTHORIZED = 403, 401


def look(uri: str) -> None:
    """Ask a server as a training's companion does; run in a process of its own.

    Args:
        uri: tracking URI.
    """
    if uri.startswith(("http://", "https://")):
        for page in ("health", "version"):
            try:
                url = f"{uri.rstrip('/')}/{page}"
                request = urllib.request.Request(url, headers=_login())
                with opener_for(url).open(request, timeout=TIMEOUT_S) as answer:
                    tell(**{page: answer.read(200).decode(errors="replace").strip()})
            except OSError as error:
                tell(**{f"{page}_error": str(error)})
    # Nobody waits for a server that is away.
    os.environ.update(
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT=str(TIMEOUT_S)
    )
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except MlflowException as error:
        code: Any = error
        tell(refused=code.get_http_status_code(), text=one_line(error))
    else:
        tell(called=True)


def _login() -> dict[str, str]:
    """The header that MLflow's client sends for the user and password in its variables."""
    user, password = (
        os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD")
    )
    if not (user and password):
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def server_checks(found: Probe, uri: str) -> list[Check]:
    """What follows from the probe of a server.

    Args:
        found: the probe's result.
        uri: tracking URI.
    """
    facts, shown = found.facts, without_user_info(uri)
    checks = []
    if "health" in facts:
        checks.append(passed(HEALTH, f"{shown} says {facts['health']}"))
    elif "health_error" in facts:
        remedy = "Start the server, or set another MLFLOW_TRACKING_URI; runs are kept meanwhile."
        checks.append(failed(HEALTH, f"{shown}: {facts['health_error']}", remedy))
    checks.append(_call(found, shown))
    if "version" in facts:
        checks.append(_versions(facts["version"]))
    return checks


def _call(found: Probe, shown: str) -> Check:
    facts = found.facts
    if facts.get("called"):
        return passed(CALL, f"{shown} answers a client")
    code, text = facts.get("refused"), facts.get("text") or found.ended or "it tells nothing"
    if code == FORBIDDEN:
        host = shown.partition("://")[2].partition("/")[0]
        remedy = f"Start the server with --allowed-hosts={host}, the host with its port."
        return failed(CALL, f"{shown} refuses the host's name or you (403): {text}", remedy)
    if code == UNAUTHORIZED:
        remedy = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        return failed(CALL, f"{shown} does not know you (401): {text}", remedy)
    remedy = "See the server's log; runs are kept meanwhile, and `explr sync` uploads them."
    return failed(CALL, f"{shown}: {text}", remedy)


def _versions(server: str) -> Check:
    client = version("mlflow")
    seen = f"client {client}, server {server}"
    if client.partition(".")[0] == server.partition(".")[0]:
        return passed(VERSIONS, seen)
    return warned(VERSIONS, seen, "Install the client of the server's major version, or update it.")


if __name__ == "__main__":
    look(sys.argv[1])
