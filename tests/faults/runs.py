"""Runs of agriseg that can be killed, held and traced: fixtures of the faults."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TIMED, blocks, layer_bytes, nearest, write_raster

from agriseg.demo.reference_models import random_network

TILE = ["--tile", "96", "--overlap", "48", "--margin", "16"]
"""Tiles larger than the trial input of a network, many on a small raster."""
NOBODY = 65534


@dataclass
class Ended:
    """How a run ended: exit code, or minus the signal; what it said."""

    code: int
    out: str
    err: str

    @property
    def one_line(self) -> bool:
        """Whether all it said is one line of agriseg's. Some of libtiff's own go past GDAL and Python to stderr."""
        said = re.sub(r"^_tiff\w+: .*\n", "", self.err, flags=re.MULTILINE)
        return said.startswith("agriseg: error: ") and said.count("\n") == 1 and len(said) <= 301


@dataclass
class Child:
    """A run under way."""

    pid: int
    _nursery: "Nursery"
    _files: dict[str, Path]

    def wait(self, seconds: float = 120) -> Ended | None:
        """How it ended; None if it still runs after so long."""
        code = self._nursery.line(seconds)
        if code is None:
            return None
        self._nursery.child = None
        return Ended(int(code), *(self._files[name].read_text() for name in ("stdout", "stderr")))

    def ended(self, seconds: float = 60) -> Ended:
        """How it ended; it must within so long."""
        ended = self.wait(seconds)
        assert ended is not None, f"it still runs after {seconds} s"
        return ended

    def signal(self, number: int) -> None:
        """Send a signal, unless it has just ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def go_on(self) -> None:
        """Let it run that was held."""
        self.held()
        os.kill(self.pid, signal.SIGCONT)

    def held(self, seconds: float = 60) -> None:
        """Wait until it stands still."""
        for _ in range(int(seconds * 100)):
            if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt":
                return
            select.select([], [], [], 0.01)
        raise AssertionError(f"it does not stand still within {seconds} s")


class Nursery:
    """Starts runs from a process that has imported everything; one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        script = Path(__file__).with_name("nursery.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._unread = b""
        self.child: Child | None = None  # that has not been seen to end
        assert self.line(120) == "ready"

    def start(self, *args: Any, cwd: Path | None = None, **request: Any) -> Child:
        """Fork a run of `agriseg args`; `request` as `nursery.live` takes it. One that a test has left is killed."""
        if self.child is not None:
            self.child.signal(signal.SIGKILL)
            self.child.ended()
        files = {name: self._folder / name for name in ("stdout", "stderr")}
        for path in files.values():
            path.write_bytes(b"")
            path.chmod(0o666)
        named = {name: str(path) for name, path in files.items()}
        asked = {"cwd": str(cwd or self._folder), "args": [str(arg) for arg in args], **named, **request}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        pid = self.line(60)
        assert pid is not None
        self.child = Child(int(pid), self, files)
        return self.child

    def run(self, *args: Any, **request: Any) -> Ended:
        """A run to its end."""
        return self.start(*args, **request).ended()

    def line(self, seconds: float) -> str | None:
        """The next line it says; None if there is none within so long."""
        out = self._process.stdout
        assert out is not None
        while b"\n" not in self._unread:
            if not select.select([out], [], [], seconds)[0]:
                return None
            piece = os.read(out.fileno(), 4096)
            assert piece, "the nursery has died"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        if self.child is not None:
            self.child.signal(signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    folder = Path(tempfile.mkdtemp(prefix="agriseg-nursery-"))
    folder.chmod(0o755)
    nursery = Nursery(folder)
    yield nursery
    nursery.close()
    shutil.rmtree(folder)


@dataclass
class Subject:
    """A raster, a model, the command that maps the one with the other, and the bytes that must come out."""

    image: Path
    model: Path
    expected: dict[str, bytes] = field(default_factory=dict)

    def command(self, out: Path, *flags: str) -> list[str]:
        return ["run", str(self.image), "-m", str(self.model), "-o", str(out), "-q", *TILE, *flags]

    def same(self, out: Path) -> bool:
        """Whether the map is the expected one, with nothing beside it."""
        there = {path.name for path in out.iterdir()}
        return there == {*self.expected, *(f"{self.image.stem}{end}" for end in TIMED)} and self.whole(out)

    def whole(self, out: Path) -> bool:
        """Whether every file that has its name is what it must be."""
        found = [name for name in self.expected if (out / name).exists()]
        return all((out / name).read_bytes() == self.expected[name] for name in found)


@pytest.fixture(scope="session")
def subject(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Some 50 tiles, two bands of data and a hole; the straight run's bytes. Anybody may read it."""
    folder = Path(tempfile.mkdtemp(prefix="agriseg-subject-"))
    folder.chmod(0o755)
    pixels = blocks(330, 290, low=1)
    pixels[:, 100:180, 90:260] = 0
    made = Subject(write_raster(folder / "a.tif", pixels, nodata=0), folder / "small.safetensors")
    replace(random_network("fcn_small"), temperature=0.003).save(made.model)  # so that confidence differs by pixel
    for path in folder.iterdir():
        path.chmod(0o644)
    out = tmp_path_factory.mktemp("straight") / "out"
    ended = nursery.run(*made.command(out))
    assert ended.code == 0, ended.err
    made.expected = layer_bytes(out)
    return made


@dataclass
class Training:
    """A training of four steps, and the model that must come out."""

    config: Path
    expected: bytes = b""

    def command(self, out: Path) -> list[str]:
        """Begin, or go on where something lies already."""
        resume = ["--resume"] if out.exists() and any(out.iterdir()) else []
        return ["train", str(self.config), "-o", str(out), "-q", *resume]

    def own_files(self, out: Path) -> list[str]:
        """Flags of strace that look at nothing but the model, the state, their drafts and the folder."""
        names = ("best.safetensors", ".best.part.safetensors", "state.safetensors", ".state.part.safetensors")
        return [flag for path in (out, *(out / name for name in names)) for flag in ("-P", str(path))]

    def endless(self, nursery: Nursery, out: Path) -> Child:
        """The same, but for its steps; it has saved its first state."""
        config = self.config.with_name("endless.toml")
        config.write_text(self.config.read_text().replace("steps = 4", "steps = 1000000"))
        child = nursery.start("train", config, "-o", out, "-q")
        while not (out / "state.safetensors").exists():
            assert child.wait(0.05) is None
        return child

    def same(self, out: Path) -> bool:
        """Whether the model is the expected one."""
        return (out / "best.safetensors").read_bytes() == self.expected


@pytest.fixture(scope="session")
def training(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("training")
    pixels = blocks(256, 384, side=10, low=1)
    write_raster(folder / "a.tif", pixels)
    write_raster(folder / "a_labels.tif", np.minimum(nearest(pixels), 2)[None], photometric="MINISBLACK")
    made = Training(folder / "field.toml")
    made.config.write_text(
        'classes = ["dark", "dim", "bright"]\narch = "fcn_small"\n'
        '[data]\nimages = "a.tif"\nlabels = "a_labels.tif"\n'
        "[validation]\nblock = 64\nbuffer = 8\n"
        "[recipe]\nsteps = 4\nchip = 64\nbatch = 2\nvalidate_every = 2\n"
    )
    out = tmp_path_factory.mktemp("trained") / "out"
    ended = nursery.run(*made.command(out))
    assert ended.code == 0, ended.err
    made.expected = (out / "best.safetensors").read_bytes()
    return made


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long"))


@pytest.fixture
def tries(long: bool, record_property: Callable[[str, object], None]) -> Callable[[int, int], int]:
    """How many tries a test makes: the first number, or with --long the second. The table of faults tells it."""

    def chosen(short: int, much: int) -> int:
        number = much if long else short
        record_property("tries", number)
        return number

    return chosen


@pytest.fixture
def sweep(long: bool, record_property: Callable[[str, object], None]) -> Callable[..., Iterator[int]]:
    """n = 1, 2, 3, ... with --long; otherwise with a step. The table of faults tells how many were taken."""

    def numbers(step: int, stop: int = 2000) -> Iterator[int]:
        for taken, n in enumerate(range(1, stop + 1, 1 if long else step), 1):
            record_property("tries", taken)  # the last one counts
            yield n

    return numbers


class Trace:
    """strace on a run that is held."""

    def __init__(self, child: Child, *flags: str, log: Path | None = None) -> None:
        where = ["-o", str(log)] if log else ["-o", os.devnull]
        self._process = subprocess.Popen(
            ["strace", "-f", *flags, *where, "-p", str(child.pid)], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        if "attached" not in line:
            child.signal(signal.SIGKILL)
            child.signal(signal.SIGCONT)
            child.ended()
            self.close()
            pytest.skip(f"strace may not trace here: {line.strip()}")

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture
def traced(nursery: Nursery) -> Callable[..., Ended]:
    """A run under strace with some flags, to its end; skipped where there is no strace."""
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")

    def run(*args: Any, flags: list[str], log: Path | None = None, **request: Any) -> Ended:
        child = nursery.start(*args, held=True, **request)
        child.held()
        trace = Trace(child, *flags, log=log)
        child.go_on()
        ended = child.ended()
        trace.close()
        return ended

    return run
