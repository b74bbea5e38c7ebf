"""The bands of one raster over worker processes: the same bytes, whoever works and whoever dies."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import trustme
from clusters import cluster
from conftest import blocks, layer_bytes, record_of, started_with, write_raster
from runs import Nursery

from agriseg import load_model
from agriseg.errors import AgrisegError, DeviceError, DeviceMemoryError, UsageError, WorkerLost
from agriseg.inference.workers import TaskError, WorkerPool
from agriseg.mapping.distribute import _parts
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Execution, run
from agriseg.options.run import RunOptions

TILES = {"tile": 64, "overlap": 32, "margin": 8}
FLAGS = ["--tile", "64", "--overlap", "32", "--margin", "8", "--cpu-threads", "1"]

Tries = Callable[[int, int], int]


@pytest.fixture(scope="module")
def crew() -> Iterator[WorkerPool]:
    with WorkerPool(2) as crew:
        yield crew


def answers(crew: WorkerPool, count: int = 1) -> dict[str, Any]:
    """Of so many submitted calls, by name. As in a run, workers that have died are started again meanwhile."""
    told: dict[str, Any] = {}
    while len(told) < count:
        crew.require_workers()
        told |= dict(crew.as_completed(1))
    return told


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif", blocks(520, 300, low=1), nodata=0)


def mapped(image: Path, model_file: Path, out: Path, crew: WorkerPool | None = None, **flags: Any) -> dict[str, bytes]:
    prepared = prepare(image, load_model(model_file), RunOptions.of(**{**TILES, **flags}))
    run(prepared, Outputs(out, image.stem, bool(flags.get("probabilities"))), execution=Execution(crew))
    assert not list(out.glob(".*"))
    return layer_bytes(out)


def command(image: Path, model: Path, out: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "agriseg", "run", str(image), "-o", str(out), "-m", str(model), "-q", *FLAGS, *flags]


# the same bytes


@pytest.mark.fault("W07")
@pytest.mark.parametrize(
    "flags",
    [{}, {"band_rows": 3, "probabilities": True}, {"window": "50,70,200,333"}, {"min_confidence": 0.256}],
    ids=str,
)
def test_workers_make_the_bytes_of_threads(
    tmp_path: Path, image: Path, model_file: Path, crew: WorkerPool, one_thread: None, flags: dict[str, Any]
) -> None:
    alone = mapped(image, model_file, tmp_path / "alone", **flags)
    assert mapped(image, model_file, tmp_path / "crew", crew, **flags) == alone
    records = [record_of(tmp_path / name) for name in ("alone", "crew")]
    assert records[0]["tiles_run"] == records[1]["tiles_run"]
    for part in ("pixels", "classes", "verdict"):
        assert records[0][part] == records[1][part]
    assert all(each["pixels"] for each in records[0]["classes"] if each["name"] == "unsure")
    seconds = records[1]["seconds"]
    assert seconds["workers"] == 2
    assert seconds["stages"].keys() == records[0]["seconds"]["stages"].keys()
    assert seconds["stages"]["network"] > 0


@pytest.mark.fault("W07")
def test_any_number_of_workers_and_a_cluster_over_tls(
    tmp_path: Path, image: Path, model_file: Path, tries: Tries, nursery: Nursery
) -> None:
    """Everybody who talks there has a certificate; whoever has none is not let in."""
    assert nursery.run(*command(image, model_file, tmp_path / "alone")[3:]).code == 0
    expected = layer_bytes(tmp_path / "alone")
    for workers in ("1", "2", "4")[: tries(0, 3)]:
        done = subprocess.run(command(image, model_file, tmp_path / workers, "--workers", workers), check=False)
        assert done.returncode == 0
        assert layer_bytes(tmp_path / workers) == expected
    tls = certificates(tmp_path)
    with cluster(tmp_path, env=tls, workers=1) as file:
        asked = command(image, model_file, tmp_path / "tls", "--scheduler-file", str(file))
        done = subprocess.run(asked, env={**os.environ, **tls}, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert layer_bytes(tmp_path / "tls") == expected
        stranger = nursery.run(*command(image, model_file, tmp_path / "none", "--scheduler-file", str(file))[3:])
        assert (stranger.code, stranger.one_line) == (69, True), stranger.err


def certificates(folder: Path) -> dict[str, str]:
    """Dask's settings for encrypted and authenticated connections, as docs/cluster.md has them."""
    authority = trustme.CA()
    cert = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    cert.private_key_and_cert_chain_pem.write_to_path(folder / "key.pem")
    settings = {"CA_FILE": folder / "ca.pem"}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        settings |= {f"{role}__CERT": folder / "key.pem", f"{role}__KEY": folder / "key.pem"}
    named = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in settings.items()}
    return {**named, "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}


def test_a_run_stopped_with_workers_goes_on_without_and_the_other_way_round(
    tmp_path: Path, image: Path, model_file: Path, crew: WorkerPool, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one kind has done is taken up by the other, wherever the gaps are."""
    from agriseg.mapping import distribute as spreading
    from agriseg.mapping import local
    from agriseg.mapping import run as jobs

    expected = mapped(image, model_file, tmp_path / "straight")

    class Stop(KeyboardInterrupt):
        pass

    def only(wanted: list[int]) -> Callable[..., Any]:
        """Does some of the bands, and is stopped."""

        def part(prepared: Any, archive: Any, indices: Any, *rest: Any) -> int:
            local.run_local(prepared, archive, wanted, *rest)
            raise Stop

        return part

    for name, first, second in (("a", None, crew), ("b", crew, None)):
        for wanted in ([3, 4, 9], [0, 12]):
            with monkeypatch.context() as patch:
                patch.setattr(jobs, "run_local", only(wanted))
                patch.setattr(spreading.BandDistribution, "run", lambda self: only(wanted)(  # noqa: B023
                    self.job, self.working.checkpoint, [], "x", self.progress))  # fmt: skip
                with pytest.raises(Stop):
                    mapped(image, model_file, tmp_path / name, first)
        assert mapped(image, model_file, tmp_path / name, second) == expected


def test_runs_of_neighbours() -> None:
    assert _parts([], 4) == []
    assert _parts([2], 4) == [range(2, 3)]
    assert _parts([0, 1, 2, 5, 6, 9], 2) == [range(2), range(2, 3), range(5, 7), range(9, 10)]


# what goes wrong


@pytest.mark.fault("W01")
def test_workers_killed_again_and_again_over_one_raster(
    tmp_path: Path, model_file: Path, one_thread: None, tries: Tries
) -> None:
    """Any of them, at random moments while somebody works."""
    left = tries(1, 50)
    image = write_raster(tmp_path / "a.tif", blocks(*((520, 300) if left == 1 else (900, 500)), low=1), nodata=0)
    env = patched(tmp_path, "time.sleep(0.1)" if left == 1 else "time.sleep(0.3)")
    expected, rng, kills, runs = mapped(image, model_file, tmp_path / "straight"), np.random.default_rng(4), 0, 0
    while kills < left:  # a fast machine needs several runs
        out, last, runs = tmp_path / f"out{runs}", 0.0, runs + 1
        job = subprocess.Popen(command(image, model_file, out, "--workers", "2"), env=env)
        while kills < left and job.poll() is None:
            if latest_tile(out) > last:
                with suppress(subprocess.TimeoutExpired):
                    job.wait(rng.uniform(0, 2))
                    break
                last = latest_tile(out)
                workers = [each for each in psutil.Process(job.pid).children(recursive=True) if is_worker(each)]
                workers[rng.integers(len(workers))].send_signal(signal.SIGKILL)
                kills += 1
        assert kills, "the run was too short to be disturbed"
        assert job.wait(300) == 0
        assert layer_bytes(out) == expected


def is_worker(process: psutil.Process) -> bool:
    """Whether Dask has started it; not those that watch over shared memory."""
    with suppress(psutil.Error):  # one that has just been killed has no command any more
        return "spawn_main" in " ".join(process.cmdline())
    return False


def latest_tile(out: Path) -> float:
    """When the last batch of tiles went into the network."""
    times = [0.0]
    for path in (out / ".a.agriseg" / "under_way").glob("*"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


@pytest.mark.long
@pytest.mark.fault("K06", "K07", "W03")
def test_a_run_with_workers_told_to_end(
    tmp_path: Path, image: Path, model_file: Path, one_thread: None, tries: Tries, interruptible_children: None
) -> None:
    """By a signal to all of its processes, as a terminal sends it: one line, nobody left, and the rest is done later."""
    env = patched(tmp_path, "time.sleep(0.1)")
    expected = mapped(image, model_file, tmp_path / "straight")
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143))[: tries(1, 2)]:
        out = tmp_path / number.name
        job = subprocess.Popen(
            command(image, model_file, out, "--workers", "2"), env=env, start_new_session=True,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        journal = out / ".a.agriseg" / "journal"
        while job.poll() is None and len(list(journal.glob("[0-9]*"))) < 1:
            pass
        family = psutil.Process(job.pid).children(recursive=True)
        os.killpg(job.pid, number)
        told = job.communicate(timeout=60)[1]
        assert (job.returncode, told.count("\n")) == (code, 1), told
        assert "resume with the same command" in told
        assert not psutil.wait_procs(family, timeout=10)[1]
        assert mapped(image, model_file, out) == expected


@pytest.mark.long
@pytest.mark.fault("W02")
def test_a_tile_that_kills_every_worker_is_named(
    tmp_path: Path, image: Path, model_file: Path, one_thread: None
) -> None:
    act = "if at[0].col_off == 64 and at[0].row_off == 96: os.abort()"
    env = patched(tmp_path, act)
    asked = command(image, model_file, tmp_path / "out", "--workers", "2")
    done = subprocess.run(asked, env=env, check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 75
    assert done.stderr.count("\n") == 1
    assert "worker processes died one after the other over window 64,96,64,64" in done.stderr
    assert (tmp_path / "out" / ".a.agriseg" / "journal" / "key").exists(), "what is done is kept"
    assert mapped(image, model_file, tmp_path / "out") == mapped(image, model_file, tmp_path / "straight")


def patched(folder: Path, act: str) -> dict[str, str]:
    """The environment in which workers of a raster's bands do something else before each batch of tiles."""
    return started_with(
        folder,
        "import os, sys, time, importlib.abc\n"
        "class After(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, fullname, path=None, target=None):\n"
        "        if fullname != 'agriseg.mapping.distribute': return None\n"
        "        sys.meta_path.remove(self)\n"
        "        from agriseg.storage import logits_cache\n"
        "        mark_running = logits_cache.LogitsCache.mark_running\n"
        "        def note(self, tile):\n"
        "            mark_running(self, tile)\n"
        "            at = [tile.window]\n"
        f"            exec({act!r}, globals(), locals())\n"
        "        logits_cache.LogitsCache.mark_running = note\n"
        "        return None\n"
        "sys.meta_path.insert(0, After())\n",
    )


@pytest.mark.long
@pytest.mark.fault("W04")
def test_workers_with_little_memory(tmp_path: Path, image: Path, model_file: Path, tries: Tries) -> None:
    """Less than the plan needs is seen before the first tile. Too little for torch itself: Dask kills them, and we say so."""
    needed = prepare(image, load_model(model_file), RunOptions.of(**TILES)).plan.memory.total
    asked = command(image, model_file, tmp_path / "out")
    for share, code in ((0.9, 69), (1.5, 75))[: tries(1, 2)]:
        with cluster(tmp_path, "--memory-limit", str(int(share * needed)), workers=1) as file:
            done = subprocess.run(
                [*asked, "--scheduler-file", str(file)], check=False, capture_output=True, text=True, timeout=200
            )
        assert done.returncode == code, done.stderr
        assert done.stderr.count("\n") == 1
        assert not list((tmp_path / "out").glob("*.tif"))


@pytest.mark.parametrize(("visible", "expected"), [(None, ["0", "0", "1"]), ("4,7", ["4", "4", "7"])])
def test_workers_share_out_cores_and_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: list[str]
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with WorkerPool(3, gpus=2) as crew:
        crew.submit("threads", torch.get_num_threads)
        crew.submit("trim", os.getenv, "MALLOC_TRIM_THRESHOLD_")
        told = answers(crew, 2)
        seen = crew._client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()
    assert told == {"threads": max(1, len(os.sched_getaffinity(0)) // 3), "trim": None}
    assert sorted(seen) == expected


def test_a_worker_of_another_version_is_named(crew: WorkerPool) -> None:
    crew.check_versions(lambda: {"torch": "2.0"})
    with pytest.raises(
        DeviceError, match=r"worker tls://127.0.0.1:\d+ has pid \d+, this machine \d+; install the same"
    ):
        crew.check_versions(lambda: {"pid": str(os.getpid())})
    with pytest.raises(DeviceError, match="cannot run agriseg"):
        crew.check_versions(missing_there)


def missing_there() -> dict[str, str]:
    if multiprocessing.parent_process() is not None:
        raise ModuleNotFoundError("No module named 'agriseg'")
    return {}


def test_what_fails_in_a_worker_is_told_here(
    tmp_path: Path, image: Path, model_file: Path, crew: WorkerPool, one_thread: None
) -> None:
    data = image.read_bytes()
    (tmp_path / "cut.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(AgrisegError, match=r"cut\.tif") as caught:
        mapped(tmp_path / "cut.tif", model_file, tmp_path / "out", crew)
    assert caught.value.exit_code == 65
    assert not list((tmp_path / "out").glob("*"))
    assert isinstance(TaskError.of(DeviceMemoryError("full")).error, DeviceMemoryError)


def test_a_worker_that_would_make_other_bytes_is_refused(image: Path, model_file: Path, crew: WorkerPool) -> None:
    crew.submit("x", _as_of_another_machine, str(image), str(model_file))
    answer = answers(crew)["x"]
    assert (answer.code, "make other bytes" in answer.text) == (69, True)


def _as_of_another_machine(image: str, model: str) -> Any:
    from agriseg.mapping.distribute import BandRange, run_band_range

    return run_band_range(
        BandRange(Path(image), Path(model), RunOptions.of(tile=64), "/nowhere", "another", 1, range(1))
    )


def test_a_model_without_a_file_cannot_travel(tmp_path: Path, image: Path, small: Any, crew: WorkerPool) -> None:
    prepared = prepare(image, small, RunOptions.of(**TILES))
    with pytest.raises(UsageError, match="has no file"):
        run(prepared, Outputs(tmp_path / "out", "a", with_probabilities=False), execution=Execution(crew))


def test_a_cluster_that_goes_away(
    tmp_path: Path, image: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All workers, for good: said after a while, and what is done is kept."""
    from agriseg.inference import workers as crews

    monkeypatch.setattr(crews, "_ALONE", 1.0)
    with cluster(tmp_path, workers=1) as file, WorkerPool(0, str(file)) as crew:
        for each in psutil.process_iter(["cmdline"]):
            if "dask_worker" in str(each.info["cmdline"]) and str(file) in str(each.info["cmdline"]):
                for process in (each, *each.children(recursive=True)):
                    process.kill()
        with pytest.raises(WorkerLost, match="no worker has come back"):
            mapped(image, model_file, tmp_path / "out", crew)


def test_workers_whose_nanny_gives_up_are_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some do when their worker dies while it starts."""
    from agriseg.inference import workers as crews

    monkeypatch.setattr(crews, "_ALONE", 20.0)
    with WorkerPool(1) as crew:
        (nanny,) = crew._cluster.workers.values()
        crew._cluster.sync(nanny.close)
        while crew.free < 1:
            crew.require_workers()
        crew.submit("x", os.getpid)
        assert isinstance(answers(crew)["x"], int)


def test_a_worker_that_is_lost_is_told(crew: WorkerPool) -> None:
    crew.submit("x", os.abort)
    assert isinstance(answers(crew)["x"], WorkerLost)
