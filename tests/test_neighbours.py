"""Other accounts of the machine: what they cannot do to a run, and what they can read of it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import blocks, write_raster

from agriseg import SegmentationModel, segment
from agriseg.batch.state_db import StateDatabase
from agriseg.demo.reference_models import random_network
from agriseg.files import locked
from agriseg.inference.workers import WorkerPool

Tries = Callable[[int, int], int]

KNOCK = """
import asyncio, sys
from distributed import Security, rpc
from distributed.comm import connect

async def knock(port):
    said = []
    for scheme, keys in (("tcp", Security()), ("tls", Security.temporary())):
        try:
            asked = rpc(f"{scheme}://127.0.0.1:{port}", connection_args=keys.get_connection_args("client"), timeout=5)
            said.append(str(await asyncio.wait_for(asked.identity(), 5)))
        except (OSError, ValueError, asyncio.TimeoutError, TypeError) as error:
            said.append("")
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /info/main/workers.html HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        said.append("page" if b"HTTP/" in await asyncio.wait_for(reader.read(), 5) else "")
    except (OSError, asyncio.TimeoutError):
        said.append("")
    return said

print("ready", flush=True)
for line in sys.stdin:
    told = [(port, asyncio.run(knock(port))) for port in map(int, line.split())]
    print([(port, said) for port, said in told if any(said)] or "refused", flush=True)
"""


class Stranger:
    """Another account of the machine, or where only one may be used a process of it that has no keys."""

    def __init__(self, folder: Path) -> None:
        asked = [sys.executable, "-W", "ignore", "-c", KNOCK]
        if os.getuid() == 0 and shutil.which("setpriv"):
            asked = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *asked]
        env = {**os.environ, "HOME": tempfile.gettempdir()}
        with (folder / "said").open("w") as said:
            self.process = subprocess.Popen(
                asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=env,
                cwd=tempfile.gettempdir(),
            )  # fmt: skip
        assert self.line() == "ready", (folder / "said").read_text()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def knock(self, ports: list[int]) -> str:
        """`refused`, or what was answered at which ports."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, ports)) + "\n")
        self.process.stdin.flush()
        return self.line()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    stranger = Stranger(tmp_path_factory.mktemp("stranger"))
    yield stranger
    stranger.process.kill()
    stranger.process.communicate()


def family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


def listening(pid: int) -> list[int]:
    """Ports that a process and its children have opened."""
    found = set()
    for process in family(pid):
        try:
            found |= {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}
        except psutil.NoSuchProcess:
            continue
    return sorted(found)


def keys_on_disk() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("*/dask.pem"))


@pytest.mark.fault("W06")
def test_a_stranger_gives_no_orders_to_local_workers(stranger: Stranger) -> None:
    before = listening(os.getpid())
    with WorkerPool(2) as crew:
        opened = [port for port in listening(os.getpid()) if port not in before]
        assert len(opened) == 5, "a scheduler, two workers and who watches these: no other port, so no pages over HTTP"
        assert stranger.knock(opened) == "refused"
        assert not keys_on_disk()
        for process in family(os.getpid()):
            assert "PRIVATE KEY" not in " ".join([*process.cmdline(), *process.environ().values()])
        crew.submit("x", os.getpid)
        assert isinstance(next(crew.as_completed(30))[1], int), "who has the keys is served"


@pytest.mark.fault("W06")
@pytest.mark.parametrize("name", ["run", "batch"])
def test_a_stranger_gives_no_orders_to_a_command(
    tmp_path: Path, stranger: Stranger, name: str, long: bool, tries: Tries
) -> None:
    """The whole command, killed when it has been tried: no keys stay behind."""
    if not long:
        pytest.skip("starts whole commands; what they start is tried above")
    (tmp_path / "in").mkdir()
    image = write_raster(tmp_path / "in" / "a.tif", blocks(3000, 3000))
    model = tmp_path / "small.safetensors"
    random_network("fcn_small").save(model)
    what = ["run", image] if name == "run" else ["batch", tmp_path / "in", "--settle", "0s"]
    asked = [*what, "-m", model, "-o", tmp_path / "out", "--workers", "2", "-q"]
    for _ in range(tries(1, 10)):
        command = subprocess.Popen([sys.executable, "-m", "agriseg", *map(str, asked)])
        try:
            while len(listening(command.pid)) < 5:
                assert command.poll() is None
            assert stranger.knock(listening(command.pid)) == "refused"
        finally:
            started = family(command.pid)
            for process in started:
                process.send_signal(signal.SIGKILL)
            command.wait()
            psutil.wait_procs(started, timeout=30)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert not keys_on_disk()


def modes(folder: Path) -> dict[str, int]:
    """Of a folder and of all that is in it just now."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # a draft, which has its name by now
            found[str(path.relative_to(folder))] = path.stat().st_mode & 0o777
    return found


@pytest.mark.fault("O10")
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_what_others_may_do_with_our_files_is_the_owners_choice(
    tmp_path: Path, small: SegmentationModel, umask: int
) -> None:
    """Outputs, the working folder, the lock and a night's ledger have the modes that the umask leaves, while and after."""
    image, out, seen = write_raster(tmp_path / "a.tif", blocks(200, 120)), tmp_path / "out", {}
    before = os.umask(umask)
    try:
        segment(image, small, out, tile=64, progress=lambda *_: seen.update(modes(out)))
        with StateDatabase(out / "ledger.sqlite"), locked(out / "held.lock"):
            seen |= modes(out)
    finally:
        os.umask(before)
    assert {".a.agriseg", ".a.agriseg/journal", ".a.agriseg/answers", "a_classes.tif", "ledger.sqlite"} <= set(seen)
    assert any(name.endswith(".lock") for name in seen)
    open_to_more = {name: oct(mode) for name, mode in seen.items() if mode & umask or mode & 0o022}
    assert not open_to_more
