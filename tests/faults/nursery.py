"""A process that has imported agriseg and computed nothing: its forks are runs of agriseg that begin in milliseconds.

It reads one request a line from stdin, as JSON, and answers two lines: the fork's number, and how it ended.
"""

import contextlib
import email.policy  # noqa: F401  (see below)
import encodings.unicode_escape  # noqa: F401
import importlib
import io
import json
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import patches
from PIL import Image

import agriseg.cli.batch
import agriseg.cli.common.defaults
import agriseg.cli.run
import agriseg.options.table  # noqa: F401  (a fork may have no right to read the files of modules)
from agriseg.cli import main
from agriseg.reports.html import template

Image.init()
template("report.html.j2")  # compiled once


IMPORTED_LATE = {
    "train": (
        "agriseg.cli.training.train",
        "agriseg.evaluation.measure_gsd_curve",
        "agriseg.training.run",
        "matplotlib.backends.backend_agg",
        "mpl_toolkits.mplot3d",
        "torch._dynamo",  # by torch's optimisers
    ),
    "--workers": ("agriseg.inference.workers",),
}
"""Modules that a command imports on its way, in seconds, by a word of it; only a nursery that hears it needs them."""


def live(request: dict[str, Any]) -> int:
    """The fork: its surroundings, then its command lines; the code of the last."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.update(request.get("env", {}))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        handle = os.open(request.get(name, os.devnull), os.O_RDWR | os.O_CREAT)
        os.dup2(handle, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, limit in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))
    if "headroom" in request:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + request["headroom"],) * 2)
    for name, *given in request.get("patches", []):
        getattr(patches, name)(*given)
    os.umask(request.get("umask", 0o022))
    if "uid" in request:
        os.setgroups([])
        os.setgid(request["uid"])
        os.setuid(request["uid"])
    if request.get("held"):
        os.kill(os.getpid(), signal.SIGSTOP)
    if "report" not in request:
        return called(request["args"])
    with Path(request["report"]).open("a", buffering=1) as report:
        for args in request["commands"]:
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                code = called(args)
            report.write(json.dumps([code, said.getvalue()]) + "\n")
    return 0


def called(args: list[str]) -> int:
    """The exit code of one command line; 99 for what Python itself would have shown."""
    try:
        main(args)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    except BaseException:  # noqa: BLE001  (that is what Python would show)
        traceback.print_exc()
    return 99


def fork(request: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = live(request)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return child


if __name__ == "__main__":
    assert threading.active_count() == 1, "a fork would lose the other threads"
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    channel.write("ready\n")
    for line in sys.stdin:
        request = json.loads(line)
        for name in (name for word, names in IMPORTED_LATE.items() if word in request["args"] for name in names):
            importlib.import_module(name)
            assert threading.active_count() == 1, "a fork would lose the other threads"
        child = fork(request)
        channel.write(f"{child}\n")
        channel.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
