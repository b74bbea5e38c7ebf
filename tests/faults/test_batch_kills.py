"""B, W: whatever happens to a batch or to its workers, the next one ends with the same bytes and true summaries."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import DATA, TIMED, blocks, started_with, write_raster
from filelock import FileLock
from runs import Ended, Nursery

Tries = Callable[[int, int], int]


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """Six rasters, one of them damaged."""
    folder = tmp_path / "flights"
    folder.mkdir()
    for seed in range(5):
        write_raster(folder / f"field{seed}.tif", blocks(130, 150, seed=seed, low=1))
    (folder / "bad.tif").write_text("no raster")
    return folder


TILES = ["--tile", "64", "--overlap", "32", "--margin", "8"]


def batch(flights: Path, model: Path, out: Path, *flags: str) -> list[str]:
    """A command line."""
    return ["batch", str(flights), "-o", str(out), "-m", str(model), "--settle", "0s", *TILES, *flags]


def command(flights: Path, model: Path, out: Path, *flags: str) -> list[str]:
    """The same for a process of its own, whose workers are Dask's."""
    return [sys.executable, "-m", "agriseg", *batch(flights, model, out, *flags)]


def forks(nursery: Nursery, asked: list[str]) -> Ended:
    """A batch whose rasters are mapped in forks."""
    return nursery.start(*asked, patches=[["forks"]]).ended(300)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The processes that Dask has started; not those that watch over shared memory."""
    family = psutil.Process(process.pid).children(recursive=True)
    return [each for each in family if "spawn_main" in " ".join(each.cmdline())]


def maps_of(out: Path) -> dict[str, bytes]:
    """Every file of every map but those that hold times."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("field*")) if not path.name.endswith(TIMED)}


def readable(out: Path, rasters: int = 6) -> bool:
    """Whether every summary that is there is a whole one, the state database, and the log to its last line."""
    if (out / "ledger.sqlite").exists():
        with closing(sqlite3.connect(out / "ledger.sqlite")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if (out / "summary.json").exists():
        assert len(json.loads((out / "summary.json").read_text())["rows"]) == rasters
    if (out / "summary.csv").exists():
        with (out / "summary.csv").open(newline="", encoding="utf-8-sig") as lines:
            assert len(list(csv.DictReader(lines))) == rasters
    if (out / "summary.html").exists():
        assert (out / "summary.html").read_text().endswith("</html>")
    if (out / "log.jsonl").exists():
        assert all(json.loads(line)["ts"] for line in (out / "log.jsonl").read_text().splitlines())
    return True


@pytest.mark.fault("K11", "B10")
def test_a_batch_killed_at_any_moment(
    flights: Path, model_file: Path, tmp_path: Path, tries: Tries, nursery: Nursery
) -> None:
    """And its workers with it, at that moment; they are forks."""
    began = time.monotonic()
    assert forks(nursery, batch(flights, model_file, tmp_path / "straight")).code == 3
    whole = time.monotonic() - began
    expected, rng = maps_of(tmp_path / "straight"), np.random.default_rng(3)
    left, batches = tries(3, 100), 0
    while left:
        asked = batch(flights, model_file, out := tmp_path / f"out{batches}")
        times: dict[Path, int] = {}
        while left:
            process = nursery.start(*asked, patches=[["forks"]])
            if process.wait(rng.uniform(0, whole)) is not None:
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.ended()
            left -= 1
            assert readable(out)
            assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in times.items()), "mapped twice"
            times = {path: path.stat().st_mtime_ns for path in out.glob("*_run.json")}
        done = forks(nursery, asked)
        assert done.code == 3, done.err
        assert [line for line in done.err.splitlines() if "bad.tif: this is text" not in line] == []
        assert maps_of(out) == expected
        assert not list(out.glob(".field*"))
        rows = json.loads((out / "summary.json").read_text())["rows"]
        assert sorted(row["status"] for row in rows) == ["done"] * 5 + ["failed"]
        batches += 1


REAL = (
    "naip_rgbn/20160816.tif", "drone_rgba/rgb_17_7_W.tif", "micasense/rgb.tif", "naip_rgbn/20190904.tif",
    "drone_rgba/orthomosaic.tif",
)  # fmt: skip


def real_rasters(folder: Path, count: int) -> tuple[dict[str, Path], list[str]]:
    """So many rasters, a tenth of them bad: sources of the good ones by name, and names of the bad ones."""
    with (DATA / "odd" / "INDEX.tsv").open(newline="") as lines:
        rows = [row["file"] for row in csv.DictReader(lines, delimiter="\t") if row["expect"] == "reject"]
    junk = [name for name in rows if name.endswith((".tif", ".tiff"))]
    good, bad = {}, []
    folder.mkdir()
    for number in range(count):
        if number % 10 == 7:
            bad.append(f"field{number}.tif")
            shutil.copyfile(DATA / "odd" / junk[number // 10 % len(junk)], folder / bad[-1])
        else:
            good[f"field{number}.tif"] = DATA / REAL[number % len(REAL)]
            shutil.copyfile(good[f"field{number}.tif"], folder / f"field{number}.tif")
    return good, bad


@pytest.mark.long
@pytest.mark.fault("K11", "B02", "B10", "W03")
def test_a_long_batch_of_real_rasters(model_file: Path, tmp_path: Path, tries: Tries, nursery: Nursery) -> None:
    """Killed at random: every good raster right, every bad one named once, state database and summaries whole at each kill."""
    good, bad = real_rasters(tmp_path / "flights", tries(10, 200))
    flags = ["--bands", "red=1,green=2,blue=3", "--workers", "2", "--cpu-threads", "1"]
    asked = command(tmp_path / "flights", model_file, tmp_path / "out", *flags)
    asked[asked.index("--tile") + 1] = "256"
    expected = {}
    for source in set(good.values()):
        alone = ["run", str(source), "-m", str(model_file), "-o", str(tmp_path / "alone"), *flags[:2], *flags[4:]]
        assert nursery.run(*alone, "--tile", "256", *TILES[2:], "-q").code == 0
        expected[source] = [
            (tmp_path / "alone" / f"{source.stem}_{name}.tif").read_bytes() for name in ("classes", "confidence")
        ]
    out, rng, kills, longest = tmp_path / "out", np.random.default_rng(5), 0, 14.0
    while kills < tries(1, 20):
        process = subprocess.Popen(asked, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(rng.uniform(0, longest))
            if kills:
                break
            shutil.rmtree(out)  # a fast machine was through before it was disturbed
            longest /= 2
            continue
        except subprocess.TimeoutExpired:
            workers = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            kills += 1
        assert not psutil.wait_procs(workers, timeout=10)[1], "workers without their parent"
        assert readable(out, len(good) + len(bad))
    done = forks(nursery, asked[3:])
    assert done.code == 3, done.err
    assert sorted(line.split("/flights/")[-1].split(":")[0] for line in done.err.splitlines()) == sorted(bad)
    rows = {row["name"]: row["status"] for row in json.loads((out / "summary.json").read_text())["rows"]}
    assert rows == {**dict.fromkeys(good, "done"), **dict.fromkeys(bad, "failed")}
    for name, source in good.items():
        made = [(out / f"{Path(name).stem}_{layer}.tif").read_bytes() for layer in ("classes", "confidence")]
        assert made == expected[source], name
    assert not list(out.glob(".field*"))


@pytest.mark.long
@pytest.mark.fault("W01", "W05", "W06")
def test_workers_that_die_and_one_that_stands_still(
    flights: Path, model_file: Path, tmp_path: Path, tries: Tries, nursery: Nursery
) -> None:
    """At random times, while they work: what they were at is done by others. One that stands still is killed in time.

    They listen on this machine alone.
    """
    (flights / "bad.tif").unlink()
    assert forks(nursery, batch(flights, model_file, tmp_path / "straight")).code == 0
    slow = (
        "import sys, time, importlib.abc\n"
        "class Slow(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'agriseg.batch.task':\n"
        "            sys.meta_path.remove(self)\n"
        "            from agriseg.backends.torch_backend import TorchBackend\n"
        "            plain = TorchBackend.logits\n"
        "            TorchBackend.logits = lambda self, x: (time.sleep(0.1), plain(self, x))[1]\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    env = started_with(tmp_path, slow)
    out, rng = tmp_path / "out", np.random.default_rng(4)
    flags = ["--workers", "2", "--retry", "1000", "--timeout", "40s"]
    process = subprocess.Popen(command(flights, model_file, out, *flags), env=env, stderr=subprocess.DEVNULL)
    at_work(process, out)
    stopped = workers_of(process)[0]
    stopped.send_signal(signal.SIGSTOP)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    places = [place for each in family for place in each.net_connections("inet") if place.status == "LISTEN"]
    assert {place.laddr.ip for place in places} == {"127.0.0.1"}
    for _ in range(tries(1, 50)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 1))
            break
        others = [each for each in workers_of(process) if each.pid != stopped.pid]
        if others:
            others[rng.integers(len(others))].send_signal(signal.SIGKILL)
    assert process.wait(300) == 3
    rows = {row["name"]: row for row in json.loads((out / "summary.json").read_text())["rows"]}
    lost = {Path(name).stem for name, row in rows.items() if row["status"] == "failed"}
    assert lost, "that of the worker that stood still, and whatever a slow machine did not end in time"
    assert all("stopped; raise --timeout" in rows[f"{name}.tif"]["reason"] for name in lost)
    expected = maps_of(tmp_path / "straight")
    assert maps_of(out) == {name: data for name, data in expected.items() if name.split("_")[0] not in lost}
    assert not psutil.pid_exists(stopped.pid) or psutil.Process(stopped.pid).status() == psutil.STATUS_ZOMBIE


def at_work(process: "subprocess.Popen[bytes]", out: Path) -> None:
    """Wait until a worker is seen at work."""
    while not list(out.glob(".field*.agriseg")):
        assert process.poll() is None, "it was over before a worker was seen at work"


@pytest.mark.fault("B08")
def test_a_second_batch_in_one_folder(flights: Path, model_file: Path, tmp_path: Path, nursery: Nursery) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".agriseg-batch.lock"):
        done = forks(nursery, batch(flights, model_file, out))
    assert (done.code, done.one_line) == (75, True)
    assert not (out / "summary.json").exists()
