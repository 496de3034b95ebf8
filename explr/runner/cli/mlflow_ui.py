"""`explr mlflow-ui`: starts and stops the MLflow server of the local store."""

from __future__ import annotations

import click

from explr.core.errors import TrackingError, UsageError
from explr.core.secrets.shapes import without_user_info
from explr.tracking.destination import TRACKING_URI, environment_uri
from explr.tracking.home import explr_home, is_local_store
from explr.tracking.mlflow.serving.gate import USER, make_password, password_file
from explr.tracking.mlflow.store import connect
from explr.tracking.server import MLflowServer

START_TIMEOUT_S = 180.0
"""How long to wait for the server; MLflow needs 10 to 35 s on a machine with two cores."""


def start_server(port: int, protect: bool = False) -> None:
    """Start the server if it is not running, wait until it answers, and print its address.

    Args:
        port: first port to try.
        protect: it asks for a password from now on.

    Raises:
        TrackingError: the server does not answer in time.
        UsageError: a password is wanted for a server that explr does not start.
    """
    uri = environment_uri()
    if not is_local_store(uri):
        if protect:
            raise UsageError(
                f"--protect is for the server of the local store, and {TRACKING_URI} is set to "
                f"{without_user_info(uri)}: unset it"
            )
        click.echo(f"{without_user_info(uri)} (from {TRACKING_URI})")
        return
    if protect:
        make_password(explr_home())
    server = MLflowServer(uri, port=port)
    if server.state() is None:
        click.echo("Starting the MLflow server; this takes a moment …", err=True)
        connect(uri)
    state = server.start(awaited=True)
    if not server.wait_until_ready(START_TIMEOUT_S):
        log_file = explr_home() / "server.log"
        raise TrackingError(f"the MLflow server does not answer at {state.url}: see {log_file}")
    if state.port != port:
        click.echo(f"The server uses port {state.port} instead of {port}", err=True)
    if state.protected:
        click.echo(f"User {USER}, password in {password_file(explr_home())}", err=True)
    click.echo(state.url)


def stop_server() -> None:
    """Stop the server that explr started, if one is running."""
    click.echo("stopped" if MLflowServer().stop() else "no MLflow server of explr is running")
