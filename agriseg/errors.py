"""What can go wrong: one root, one child per exit code.

Every message is one line: the value, the expected value, the remedy. The exit codes are those of BSD's sysexits.h
where they fit; they are documented in the README and frozen.
"""

import errno

DEBUG = "AGRISEG_DEBUG"
"""Variable of the environment that adds tracebacks."""

_DISK = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)


class AgrisegError(Exception):
    """Root of all errors that agriseg raises on purpose. Exit code 70."""

    exit_code = 70


class UsageError(AgrisegError, ValueError):
    """An argument that makes no sense, alone or beside another. Exit code 2."""

    exit_code = 2


class GridError(UsageError):
    """Tile, overlap, margin or window that cannot form a grid. Exit code 2."""


class DataError(AgrisegError, ValueError):
    """A raster that cannot be read, or that does not fit the model. Exit code 65."""

    exit_code = 65


class InputMissing(AgrisegError, FileNotFoundError):
    """The input does not exist or is no regular file. Exit code 66."""

    exit_code = 66


class DeviceError(AgrisegError, RuntimeError):
    """The device is not available, or its memory does not suffice. Exit code 69."""

    exit_code = 69


class DeviceMemoryError(DeviceError):
    """The device's memory does not suffice for one tile. Exit code 69."""


class PredictionError(AgrisegError, RuntimeError):
    """The network gave something that is no prediction, such as NaN. Exit code 70."""


class OutputError(AgrisegError, OSError):
    """The output cannot be created, or it exists. Exit code 73."""

    exit_code = 73


class StorageError(AgrisegError, OSError):
    """What was written is not what can be read back, or the disk is full. Exit code 74."""

    exit_code = 74


class BusyError(AgrisegError):
    """Another run has the output; try again. Exit code 75."""

    exit_code = 75


class WorkerLost(BusyError):
    """A worker process died or was stopped over its task. Exit code 75."""


class WorkerFailed(AgrisegError):
    """What went wrong in a worker process, with the exit code that it has there."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = code


class AccessError(AgrisegError, PermissionError):
    """The operating system forbids it. Exit code 77."""

    exit_code = 77


class ModelError(AgrisegError, ValueError):
    """A model or configuration file that cannot be used. Exit code 78."""

    exit_code = 78


class Interrupted(AgrisegError):
    """The user pressed Ctrl-C; finished work is saved. Exit code 130."""

    exit_code = 130


class Terminated(AgrisegError):
    """The process got SIGTERM or SIGHUP; finished work is saved. Exit code 143."""

    exit_code = 143


def exit_code_and_message(error: BaseException) -> tuple[int, str]:
    """Exit code and one sentence for whatever ended a run."""
    if isinstance(error, AgrisegError):
        return error.exit_code, str(error)
    if isinstance(error, OSError) and error.errno in _DISK:
        return 74, f"{error.filename or 'the disk'}: {error.strerror}; check the disk, then run the same command again"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # torch's text
        return 70, "out of memory; allow less with --max-memory, or give a smaller --tile"
    return 70, f"internal error, {type(error).__name__}: {error}; set {DEBUG}=1 to see where, and report it"
