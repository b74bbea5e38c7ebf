"""K: whatever ends a run, the next one goes on to the same bytes."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import layer_bytes
from runs import Ended, Nursery, Subject, Training

Sweep = Callable[[int], Iterator[int]]
Tries = Callable[[int, int], int]
Traced = Callable[..., Ended]

RESUME = "resume with the same command"


def tiles_of(counter: Path) -> int:
    """Tiles that went through the network."""
    return counter.stat().st_size if counter.exists() else 0


@pytest.mark.fault("K01", "K03")
def test_killed_at_any_moment(nursery: Nursery, subject: Subject, tmp_path: Path, tries: Tries) -> None:
    """Kills until the number is reached; whenever a run gets through, its map is checked and the next begins."""
    counter, rng = tmp_path / "tiles", np.random.default_rng(0)
    began = time.monotonic()
    assert nursery.run(*subject.command(tmp_path / "first"), patches=[["count", str(counter)]]).code == 0
    whole, straight = time.monotonic() - began, tiles_of(counter)
    left, rounds, kills_here = tries(12, 1000), 0, 0
    while left:
        out = tmp_path / f"out{rounds}"
        child = nursery.start(*subject.command(out), patches=[["count", str(counter)]])
        ended = child.wait(rng.uniform(0, whole))
        if ended is None:
            child.signal(signal.SIGKILL)
            ended = child.ended()
        if ended.code == -signal.SIGKILL:
            left, kills_here = left - 1, kills_here + 1
            assert subject.whole(out)
            if left:
                continue
            ended = nursery.run(*subject.command(out), patches=[["count", str(counter)]])
        if ended.code == 73:  # killed after its very last deed: what is there is complete, and says so
            assert {path.name for path in out.iterdir()} >= set(subject.expected)
            assert subject.whole(out)
            assert (out / "a_run.json").exists()
        else:
            assert ended.code == 0, ended.err
            assert subject.same(out)
        again = tiles_of(counter) - straight * (rounds + 2)
        assert 0 <= again <= kills_here, f"{again} tiles run again after {kills_here} kills"
        rounds += 1
        counter.write_bytes(bytes(straight * (rounds + 1)))
        kills_here = 0


@pytest.mark.fault("K03")
def test_torn_files_of_a_kill(nursery: Nursery, subject: Subject, tmp_path: Path, tries: Tries) -> None:
    """What a kill can leave of a GeoTIFF: its beginning, with zeros where the system had not written yet."""
    whole, rng = subject.expected["a_classes.tif"], np.random.default_rng(2)
    for attempt in range(tries(4, 100)):
        out = tmp_path / str(attempt)
        child = nursery.start(*subject.command(out), patches=[["hold", 30]])
        child.held()
        child.signal(signal.SIGKILL)
        child.ended()
        for name in ("classes.tif", "classes.draft.tif", "confidence.tif", "confidence.draft.tif"):
            start, stop = sorted(rng.integers(16, 600, 2))
            left = whole[:start] + bytes(stop - start) + whole[stop : rng.integers(stop, len(whole))]
            (out / ".a.agriseg" / name).write_bytes(left)
        ended = nursery.run(*subject.command(out))
        assert ended.code == 0, ended.err
        assert subject.same(out)


CALLS = "rename,renameat,renameat2,fsync"


@pytest.mark.fault("K02", "K03")
def test_killed_at_each_rename_and_flush(
    nursery: Nursery, subject: Subject, tmp_path: Path, traced: Traced, sweep: Sweep
) -> None:
    """The n-th of them in each thread kills; n grows until nothing is left to kill."""
    for n in sweep(13):
        out = tmp_path / str(n)
        kill = ["-e", f"trace={CALLS}", "-e", f"inject={CALLS}:signal=SIGKILL:when={n}"]
        ended = traced(*subject.command(out), flags=kill)
        if ended.code == 0:
            assert subject.same(out)
            assert n > 10
            return
        assert ended.code == -signal.SIGKILL
        assert subject.whole(out)
        again = nursery.run(*subject.command(out))
        assert again.code == 0, again.err
        assert subject.same(out)
    raise AssertionError("it never got through")


@pytest.mark.fault("K06", "K07", "K08")
@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT], 130), ([signal.SIGINT, signal.SIGINT], 130), ([signal.SIGTERM], 143),
        ([signal.SIGTERM, signal.SIGTERM], 143), ([signal.SIGHUP], 143),
    ],
    ids=str,
)  # fmt: skip
def test_told_to_end(
    nursery: Nursery, subject: Subject, tmp_path: Path, tries: Tries, numbers: list[int], code: int
) -> None:
    """At tiles drawn by chance; held there, so that the signal meets a run at work."""
    rng = np.random.default_rng(1)
    for attempt in range(tries(2, 50)):
        out = tmp_path / str(attempt)
        child = nursery.start(*subject.command(out), patches=[["hold", int(rng.integers(0, 30))]])
        child.held()
        for number in numbers:
            child.signal(number)
        child.signal(signal.SIGCONT)
        ended = child.ended()
        assert ended.code == code, ended.err
        assert ended.one_line
        assert RESUME in ended.err
        assert nursery.run(*subject.command(out)).code == 0
        assert subject.same(out)


@pytest.mark.fault("K06", "K07", "K08", "T04")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_training_told_to_end(
    nursery: Nursery, training: Training, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    child = training.endless(nursery, tmp_path / "out")
    child.signal(number)
    ended = child.ended()
    assert (ended.code, ended.one_line) == (code, True), ended.err
    assert "resume with --resume" in ended.err


@pytest.mark.fault("K08")
def test_a_reader_of_stdout_that_goes_away(subject: Subject, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "agriseg", *subject.command(tmp_path / "out")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr:
        told = child.stderr.read().decode()
    child.wait(60)
    assert "Traceback" not in told
    assert subject.same(tmp_path / "out")


@pytest.mark.fault("K09")
def test_every_rename_is_flushed_before_and_after(subject: Subject, tmp_path: Path, traced: Traced) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    assert traced(*subject.command(out), flags=["-y", "-e", f"trace={CALLS}"], log=log).code == 0
    calls = re.findall(r"(fsync|rename\w*)\((.*)\)\s+= 0", log.read_text())
    assert len(renames_of(out, calls)) == len(layer_bytes(out)) + 2  # and the record, and the report
    for place, draft in renames_of(out, calls):
        assert any(name == "fsync" and f"<{draft}>" in what for name, what in calls[:place]), f"{draft} is not flushed"
        assert any(name == "fsync" and f"<{out}>" in what for name, what in calls[place:]), f"{out} is not flushed"


def renames_of(out: Path, calls: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """Where among the calls a file gets a name that others see, and what it was called before."""
    found = []
    for place, (name, what) in enumerate(calls):
        if name.startswith("rename"):
            draft, final = re.findall(r'"([^"]*)"', what)
            if Path(final).parent == out and not Path(final).name.startswith("."):
                found.append((place, draft))
    return found


@pytest.mark.fault("K10")
def test_a_reader_never_sees_half_a_file(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child, looks = nursery.start(*subject.command(out)), 0
    while (ended := child.wait(0.001)) is None:
        assert subject.whole(out)
        looks += 1
    assert ended.code == 0
    assert looks > 10
    assert subject.same(out)


@pytest.mark.fault("K13")
def test_suspended_and_woken(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = nursery.start(*subject.command(out), patches=[["hold", 20]])
    child.held()
    assert not list(out.glob("*.tif"))
    child.go_on()
    assert child.ended().code == 0
    assert subject.same(out)


@pytest.mark.fault("C06", "T03")
def test_killed_while_a_checkpoint_is_saved(
    nursery: Nursery, training: Training, tmp_path: Path, traced: Traced, sweep: Sweep, long: bool
) -> None:
    """The n-th rename or flush in each thread kills; the training goes on to the same model.

    Most of them are of the maps that it scores. The short form counts those of the model and the state alone.
    """
    for n in sweep(4):
        out = tmp_path / str(n)
        where = [] if long else training.own_files(out)
        kill = [*where, "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:signal=SIGKILL:when={n}"]
        ended = traced(*training.command(out), flags=kill)
        if ended.code == 0:
            assert n > 10
            return
        assert ended.code == -signal.SIGKILL
        again = nursery.run(*training.command(out))
        assert again.code == 0, again.err
        assert training.same(out)
    raise AssertionError("it never got through")
