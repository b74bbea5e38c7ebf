"""The server of the page: one socket on this machine alone, a random key in the address."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from agriseg.errors import OutputError
from agriseg.label_server.api import application
from agriseg.label_server.guard import Guard
from agriseg.label_server.kept_address import KeptAddress
from agriseg.labelling.session import Session

_HOST = "127.0.0.1"
_REQUESTS = 64  # at once
_END_S = 2  # that open requests get at the end


def serve(session: Session, folder: Path, port: int | None, opened: Callable[[str], None]) -> None:
    """Serve the page until a signal ends it.

    The address is that of the last server of the folder, so that a page that is still open goes on; the port is another
    one if that is taken.

    Args:
        port: None for that of the last server, or a free one.
        opened: called with the address when requests are taken.

    Raises:
        OutputError: the port is taken, or may not be used.
    """
    kept = KeptAddress.of(folder)
    with _listening((kept.port, 0) if port is None else (port,)) as listener:
        address = KeptAddress(listener.getsockname()[1], kept.key)
        address.keep(folder)
        config = uvicorn.Config(
            Guard(application(session), address.key), http="h11", ws="none", lifespan="off", access_log=False,
            log_config=None, server_header=False, date_header=False, limit_concurrency=_REQUESTS,
            timeout_graceful_shutdown=_END_S,
        )  # fmt: skip
        opened(f"http://{_HOST}:{address.port}/{address.key}/")
        uvicorn.Server(config).run(sockets=[listener])


def _listening(ports: Sequence[int]) -> socket.socket:
    """A socket of this machine alone on the first of the ports that can be used."""
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
            listener.listen()
        except OSError as error:
            listener.close()
            reason = error.strerror
        else:
            return listener
    raise OutputError(f"port {ports[0]} cannot be used ({reason}); leave --port out for a free one")
