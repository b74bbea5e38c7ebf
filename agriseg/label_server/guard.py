"""Lets nobody in but the page: address, host, origin, method, size and time of each request are checked first."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 * 2**20
"""Bytes of a request."""
_BODY_S = 10.0  # in which a body must be here
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is not answered: its status and one sentence."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Guard:
    """ASGI middleware in front of the application.

    Args:
        key: first part of every path; who does not know it gets nothing.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return
        safe = _with_headers(send)
        try:
            body = await self._checked(scope, receive)
        except Refused as error:
            await JSONResponse({"error": str(error)}, error.status)(scope, receive, safe)
            return
        inner = {**scope, "root_path": f"/{self._key}"}
        await self._app(inner, _replayed(body, receive), safe)

    async def _checked(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that may come in."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
            raise Refused(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
        given = scope["path"].split("/", 2)
        if len(given) < 3 or not secrets.compare_digest(given[1].encode(), self._key.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "the key in the address is missing or wrong; copy it from the terminal")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(HTTPStatus.FORBIDDEN, "another page asks; only the page of agriseg label may")
        if scope["method"] in ("GET", "HEAD"):
            return b""
        if scope["method"] != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "GET and POST alone")
        if headers.getlist("origin") != [f"http://{hosts[0]}"]:
            raise Refused(HTTPStatus.FORBIDDEN, "another page asks; only the page of agriseg label may")
        return await _body(headers, receive)


async def _body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """The body of a POST, of JSON and bounded in size and time."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected JSON")
    size = headers.get("content-length", "")
    if not re.fullmatch(r"\d{1,12}", size):
        raise Refused(HTTPStatus.LENGTH_REQUIRED, "a request without its length")
    if int(size) > MAX_BODY:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY} bytes")
    try:
        return await asyncio.wait_for(_read(receive), _BODY_S)
    except TimeoutError as error:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time") from error


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(HTTPStatus.BAD_REQUEST, "the request ended early")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BODY} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body that was read, then what comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


def _with_headers(send: Send) -> Send:
    """Add the headers of safety to each response that does not set its own."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
