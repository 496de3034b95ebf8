"""`explr dashboard`: serves optuna-dashboard for the study of a sweep."""

from __future__ import annotations

from pathlib import Path
from socket import socket
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import click

from explr.core.errors import MissingDependencyError
from explr.results.sweep import storage_in
from explr.tracking.mlflow.serving.server_process import listen


def serve_dashboard(folder: Path, port: int) -> None:
    """Serve the dashboard on the loopback interface until Ctrl-C.

    Args:
        folder: folder of the sweep, which may still be running, or of a grid as it is now.
        port: first port to try; 0 takes any free port.

    Raises:
        MissingDependencyError: optuna-dashboard is not installed.
        UsageError: there is no study, or it cannot be read.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingDependencyError(
            f"explr dashboard needs optuna-dashboard: pip install optuna-dashboard ({error}); "
            f"explr report {folder} works without it"
        ) from None
    storage = storage_in(folder)
    with _Server(listen(port)) as server:
        server.set_app(wsgi(storage))
        if port and server.server_port != port:
            click.echo(f"port {port} is taken", err=True)
        click.echo(f"http://127.0.0.1:{server.server_port}/dashboard (stop it with Ctrl-C)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)


class _Server(ThreadingMixIn, WSGIServer):
    """Uses threads: a browser keeps several connections open at once."""

    daemon_threads = True

    def __init__(self, listener: socket) -> None:
        super().__init__(listener.getsockname(), _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
