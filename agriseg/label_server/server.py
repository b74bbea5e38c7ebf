"""The server of the page: one socket on this machine alone, a random key in the address."""

import secrets
import socket
from collections.abc import Callable

import uvicorn

from agriseg.errors import OutputError
from agriseg.label_server.api import application
from agriseg.label_server.guard import Guard
from agriseg.labelling.session import Session

_HOST = "127.0.0.1"
_KEY_BYTES = 32
_REQUESTS = 64  # at once
_END_S = 2  # that open requests get at the end


def serve(session: Session, port: int, opened: Callable[[str], None]) -> None:
    """Serve the page until a signal ends it.

    Args:
        port: 0 for a free one.
        opened: called with the address when requests are taken.

    Raises:
        OutputError: the port is taken, or may not be used.
    """
    key = secrets.token_urlsafe(_KEY_BYTES)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
            listener.listen()
        except OSError as error:
            raise OutputError(
                f"port {port} cannot be used ({error.strerror}); leave --port out for a free one"
            ) from error
        config = uvicorn.Config(
            Guard(application(session), key), http="h11", ws="none", lifespan="off", access_log=False, log_config=None,
            server_header=False, date_header=False, limit_concurrency=_REQUESTS, timeout_graceful_shutdown=_END_S,
        )  # fmt: skip
        opened(f"http://{_HOST}:{listener.getsockname()[1]}/{key}/")
        uvicorn.Server(config).run(sockets=[listener])
