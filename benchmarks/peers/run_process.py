"""One run of an engine in a process of its own, with the memory of its whole tree of processes."""

import os
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.peers.engines import Engine
from benchmarks.peers.environments import ROOT, EngineError, last_line
from benchmarks.peers.task import Measurement, Task

_EVERY = 0.02  # seconds between two looks at the memory
_LONGEST = 1800  # seconds after which an engine counts as one that does not end


def run_engine(engine: Engine, python: Path, task: Task) -> Measurement:
    """Map the raster once.

    Raises:
        EngineError: the process failed or did not end; the message has its last line.
    """
    words = [str(python), "-m", "benchmarks.peers.adapter_process", engine.adapter]
    Path(task.measurement).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "task.json"
        task.write(told)
        peak = watched([*words, str(told)], engine.name)
    measured = Measurement.read(Path(task.measurement))
    return replace(measured, peak_bytes=max(measured.peak_bytes, peak))


def watched(command: list[str], name: str) -> int:
    """Run a command in the repository; the most resident bytes that its tree of processes had.

    Raises:
        EngineError: it failed, or did not end.
    """
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    try:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
    except OSError as error:
        raise EngineError(str(error)) from error
    peaks = [0]
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    try:
        _, said = process.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.communicate()
        raise EngineError(f"{name} did not end within {_LONGEST} s") from error
    watcher.join()
    if process.returncode:
        raise EngineError(f"exit code {process.returncode}: {last_line(said)}")
    return peaks[0]


def _watch(process: subprocess.Popen[str], peaks: list[int]) -> None:
    """Keep the most resident bytes of the process with its children, until it ends."""
    while process.poll() is None:
        peaks[0] = max(peaks[0], tree_bytes(process.pid))
        time.sleep(_EVERY)


def tree_bytes(pid: int) -> int:
    """Resident bytes of a process and all its descendants; 0 once it has ended."""
    total = 0
    try:
        first = psutil.Process(pid)
        for each in (first, *first.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:  # one ended between the two calls
        return total
    return total
