"""What the page asks the server: the state, tiles, changes of labels, the next place, and jobs."""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from importlib.resources import files as package_files
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from agriseg.errors import AgrisegError, BusyError, UsageError
from agriseg.grid import Window, intersection
from agriseg.label_server.page_state import page_state, page_status
from agriseg.labelling.job import JobKind
from agriseg.labelling.label import change_of_json
from agriseg.labelling.label_file import OutdatedChange
from agriseg.labelling.session import Session

_WAIT_S, _WAITS = 1.0, 10
"""How long a request for the next state waits at once, so that the end of the server waits no longer, and how often."""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".html": "text/html"}
_PICTURE_CACHE = {"Cache-Control": "private, max-age=3600"}
_REPORT_POLICY = {
    "Content-Security-Policy": (
        "sandbox allow-scripts allow-popups; default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
"""The report is one file with its scripts in it; the sandbox keeps it from asking this server for anything."""

Answer = Callable[[Request], Awaitable[Response]]
Sent = TypeVar("Sent", bound=BaseModel)


class SentView(BaseModel):
    """What is on the screen, in pixels of the raster, which it may exceed."""

    model_config = ConfigDict(extra="forbid")

    left: float = Field(allow_inf_nan=False)
    top: float = Field(allow_inf_nan=False)
    right: float = Field(allow_inf_nan=False)
    bottom: float = Field(allow_inf_nan=False)
    factor: float = Field(default=1, gt=0, allow_inf_nan=False)


class SentMinutes(BaseModel):
    """How long a job may take."""

    model_config = ConfigDict(extra="forbid")

    minutes: float = Field(gt=0, le=24 * 60, allow_inf_nan=False)


def application(session: Session) -> Starlette:
    """The ASGI application of a labelling; `Guard` belongs in front of it."""
    routes = [
        Route("/", partial(_page, "index.html")),
        *(Route(f"/{name}", partial(_page, name)) for name in _page_files()),
        *(Route(f"/page/{name}", partial(_page, name)) for name in _page_files()),
        Route("/state", _answer(session, _state)),
        Route("/status/{seen:int}", partial(_status, session)),
        Route("/image/{factor:int}/{col:int}/{row:int}", _answer(session, _image)),
        Route("/map/{head:int}/{factor:int}/{col:int}/{row:int}", _answer(session, _map)),
        Route("/result/report.html", _answer(session, _report)),
        Route("/labels", _answer(session, _labels), methods=["POST"]),
        Route("/view", _answer(session, _view), methods=["POST"]),
        Route("/next", _answer(session, _next), methods=["POST"]),
        Route("/improve", _answer(session, partial(_job, kind="improve")), methods=["POST"]),
        Route("/finish", _answer(session, partial(_job, kind="finish")), methods=["POST"]),
        Route("/stop", _answer(session, _stop), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error})


def _page_files() -> list[str]:
    folder = package_files("agriseg.labelling") / "page"
    return sorted(each.name for each in folder.iterdir() if each.is_file())


async def _page(name: str, _request: Request) -> Response:
    content = (package_files("agriseg.labelling") / "page" / name).read_bytes()
    suffix = f".{name.rpartition('.')[2]}"
    return Response(content, media_type=_TYPES.get(suffix, "text/plain"))


def _answer(session: Session, made: Callable[..., Response]) -> Answer:
    """Answer in a thread, because answers read files and compute; errors become one sentence."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        try:
            return await run_sync(partial(made, session, request, body))
        except OutdatedChange as error:
            return _error(HTTPStatus.CONFLICT, str(error), version=session.labels.version)
        except BusyError as error:
            return _error(HTTPStatus.CONFLICT, str(error))
        except UsageError as error:
            return _error(HTTPStatus.BAD_REQUEST, str(error))
        except AgrisegError as error:
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    return answer


async def _http_error(_request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else 500)
    return _error(status, status.phrase.lower())


def _error(status: HTTPStatus, text: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": text, **more}, status)


def _state(session: Session, _request: Request, _body: bytes) -> Response:
    return JSONResponse(page_state(session))


async def _status(session: Session, request: Request) -> Response:
    """The state when it is another than the one that was seen, or after a while."""
    for _ in range(_WAITS):
        if await run_sync(session.learner.wait_for_change, request.path_params["seen"], _WAIT_S):
            break
    return JSONResponse(page_status(session))


def _image(session: Session, request: Request, _body: bytes) -> Response:
    picture = session.tiles.picture(*_place(session, request))
    if picture is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(picture.content, media_type=picture.media_type, headers=_PICTURE_CACHE)


def _map(session: Session, request: Request, _body: bytes) -> Response:
    """A tile of the newest map, whatever revision is asked for: the number in the address makes it another picture."""
    content = session.map.tile(*_place(session, request))
    if content is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(content, media_type="image/png")


def _place(session: Session, request: Request) -> tuple[int, int, int]:
    factor, col, row = (request.path_params[name] for name in ("factor", "col", "row"))
    if factor not in session.field.factors:
        raise UsageError(f"factor {factor}, expected one of {', '.join(map(str, session.field.factors))}")
    return factor, col, row


def _labels(session: Session, _request: Request, body: bytes) -> Response:
    info = session.field.info
    change = change_of_json(body, session.labels.classes, (info.width, info.height))
    return JSONResponse({"version": session.change(change)})


def _view(session: Session, _request: Request, body: bytes) -> Response:
    if (view := _window(session, body)) is not None:
        session.learner.look_at(view)
    return JSONResponse({})


def _next(session: Session, _request: Request, body: bytes) -> Response:
    place = session.next_place(_window(session, body) or session.field.extent)
    if place is None:
        return _error(HTTPStatus.CONFLICT, "no place to suggest: label two classes first, or wait for the map")
    window = place.window
    box = {"x": window.col_off, "y": window.row_off, "width": window.width, "height": window.height}
    return JSONResponse({**box, "why": place.why})


def _window(session: Session, body: bytes) -> Window | None:
    """The part of the raster on the screen; None without any."""
    sent, info = _sent(SentView, body), session.field.info
    left, top = (min(max(0, int(value)), side) for value, side in ((sent.left, info.width), (sent.top, info.height)))
    right, bottom = (
        min(max(0, int(value) + 1), side) for value, side in ((sent.right, info.width), (sent.bottom, info.height))
    )
    if right <= left or bottom <= top:
        return None
    return intersection(Window(left, top, right - left, bottom - top), session.field.extent)


def _job(session: Session, _request: Request, body: bytes, kind: JobKind) -> Response:
    session.start_job(kind, _sent(SentMinutes, body).minutes)
    return JSONResponse({}, HTTPStatus.ACCEPTED)


def _stop(session: Session, _request: Request, _body: bytes) -> Response:
    session.jobs.stop()
    return JSONResponse({}, HTTPStatus.ACCEPTED)


def _report(session: Session, _request: Request, _body: bytes) -> Response:
    if not session.report.is_file():
        return _error(HTTPStatus.NOT_FOUND, "no report yet; choose Finish first")
    return FileResponse(session.report, media_type="text/html", headers=_REPORT_POLICY)


def _sent(kind: type[Sent], body: bytes) -> Sent:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc'])) or 'the request'}: {first['msg']}") from error
