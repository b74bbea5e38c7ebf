"""GDAL as agriseg uses it: what it may do, and what its warnings and errors become."""

import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

BLOCK_CACHE_BYTES = 32 * 2**20
"""What GDAL keeps of decoded blocks, unless a raster's blocks are tall."""

# Read when GDAL registers its drivers, so set before rasterio does that. Sources: GDAL security page;
# the sidecars .ovr and .aux.xml still fetch unless curl has no allowed extension.
os.environ["GDAL_SKIP"] = "VRT,GTI,WMS,WCS,WMTS,HTTP,OGCAPI,STACTA,STACIT,PLMOSAIC,EEDAI,DAAS,NGW,DERIVED"
os.environ["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = ".none"
os.environ["GDAL_VRT_ENABLE_PYTHON"] = "NO"
os.environ["GDAL_DRIVER_PATH"] = "disable"
os.environ["GDAL_PNG_WHOLE_IMAGE_OPTIM"] = "NO"  # that way of reading takes a PNG that ends early for pixels
os.environ["PROJ_NETWORK"] = "OFF"  # grids of datum shifts
os.environ["GDAL_CONFIG_FILE"] = os.devnull  # such a file may overrule all of these
os.environ.setdefault("GDAL_CACHEMAX", f"{BLOCK_CACHE_BYTES // 2**20}")

import rasterio  # noqa: E402  (after the environment above)
from rasterio._err import CPLE_BaseError  # noqa: E402  (some calls raise it bare; no public module has it)
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError  # noqa: E402

from agriseg.errors import AgrisegError, DataError  # noqa: E402

GDAL_ERRORS = (RasterioIOError, CPLE_BaseError)
_PREFIX = re.compile(r"^CPLE_\w+( in|:) ?([^:]+\.\w+: )?")  # rasterio's, and the name of the file

warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
_log = logging.getLogger("rasterio")
_log.addHandler(logging.NullHandler())
with rasterio.Env():
    pass  # registers the drivers now: no warning of those on the skip list that this GDAL lacks


def _hear(unraisable: "sys.UnraisableHookArgs") -> None:
    """A damaged file can make GDAL write a message that is not UTF-8; rasterio loses it, so log one in its place."""
    if unraisable.object == _LOSES:
        _log.warning("a message that is no text")
    else:
        _unraised(unraisable)


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Before `_hear` is called, the same error comes here, without a trace: rasterio would print it."""
    if not (kind is UnicodeDecodeError and trace is None):
        _uncaught(kind, error, trace)


_LOSES = "rasterio._env.log_error"
_unraised, sys.unraisablehook = sys.unraisablehook, _hear
_uncaught, sys.excepthook = sys.excepthook, _show


@contextmanager
def gdal_calls(failure: str, kind: type[AgrisegError] = DataError) -> Iterator[list[str]]:
    """Around calls of GDAL: it prints nothing, its warnings are collected, its errors become one line.

    Args:
        failure: message of the error when a call fails; GDAL's reason is added.
        kind: of that error.

    Yields:
        GDAL's warnings in this thread, each text once.
    """
    messages: list[str] = []
    thread = threading.get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = f"GDAL: {_PREFIX.sub('', record.getMessage())}"
            if record.thread == thread and record.levelno >= logging.WARNING and message not in messages:
                messages.append(message)

    listener = Listener()
    _log.addHandler(listener)
    try:
        with rasterio.Env():
            yield messages
    except (*GDAL_ERRORS, UnicodeError) as error:  # names in GDAL are not always UTF-8
        raise kind(f"{failure} ({error.__cause__ or error})") from error
    finally:
        _log.removeHandler(listener)


def grow_block_cache(least_bytes: int) -> None:
    """Let GDAL keep at least this many bytes of decoded blocks."""
    if least_bytes > BLOCK_CACHE_BYTES:
        rasterio.env.set_gdal_config("GDAL_CACHEMAX", least_bytes)
