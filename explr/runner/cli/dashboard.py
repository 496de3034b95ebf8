"""`explr dashboard`: optuna-dashboard on the study of a sweep."""

from __future__ import annotations

from pathlib import Path
from socket import socket
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import click

from explr.core.errors import MissingDependencyError
from explr.results.sweep import storage_of, stored_study
from explr.tracking.mlflow.server_process import listen
from explr.tuning.storage import study_storage


def serve_dashboard(folder: Path, port: int) -> None:
    """Serve the dashboard on the loopback interface until Ctrl-C.

    Args:
        folder: folder of the sweep, which another process may be running.
        port: port to try first; 0 takes any that is free.

    Raises:
        MissingDependencyError: optuna-dashboard is not installed.
        UsageError: there is no study, or it cannot be read.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise MissingDependencyError(
            "explr dashboard takes optuna-dashboard: pip install optuna-dashboard "
            f"({error}); explr report {folder} takes nothing"
        ) from None
    stored_study(folder)  # tells what is wrong before anything is served
    with _Server(listen(port)) as server:
        server.set_app(wsgi(study_storage(folder, storage_of(folder))))
        if port and server.server_port != port:
            click.echo(f"port {port} is taken", err=True)
        click.echo(f"http://127.0.0.1:{server.server_port}/dashboard (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended", err=True)


class _Server(ThreadingMixIn, WSGIServer):
    """A browser keeps connections open, of which a server without threads answers one."""

    daemon_threads = True

    def __init__(self, listener: socket) -> None:
        super().__init__(listener.getsockname(), _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""
