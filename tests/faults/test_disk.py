"""D: a disk that is full, fails or may not be written never leaves a wrong file behind a right name."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rasterio
from conftest import layer_bytes
from runs import NOBODY, Ended, Nursery, Subject, Training

Sweep = Callable[..., Iterator[int]]
Traced = Callable[..., Ended]

WRITES = "write,pwrite64,writev,pwritev,pwritev2"
READS = "read,pread64,readv,preadv"


def injection(calls: str, what: str, n: int) -> list[str]:
    return ["-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={n}"]


@pytest.mark.fault("D03")
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_the_nth_write_fails(
    nursery: Nursery, subject: Subject, tmp_path: Path, traced: Traced, sweep: Sweep, error: str
) -> None:
    """In each thread. What has its name is right to the last overview; the next run gets through."""
    for n in sweep(47, 200):
        out = tmp_path / str(n)
        out.mkdir()
        ended = traced(*subject.command(out), flags=injection(WRITES, f"error={error}", n))
        assert subject.whole(out), f"a wrong file at write {n}"
        if ended.code == 0:
            assert subject.same(out)
        else:
            assert ended.code == 74, f"write {n}: {ended.code} {ended.err}"
            assert ended.one_line or not ended.err, "nothing is said only if saying it is what failed"
            through = subject.same(out)  # and what failed was to say so
            assert nursery.run(*subject.command(out)).code == (73 if through else 0)
            assert subject.same(out)
        shutil.rmtree(out)


@pytest.mark.fault("D04")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_the_nth_flush_fails(
    nursery: Nursery, subject: Subject, tmp_path: Path, traced: Traced, sweep: Sweep, error: str
) -> None:
    for n in sweep(7, 200):
        out = tmp_path / str(n)
        ended = traced(*subject.command(out), flags=injection("fsync,fdatasync", f"error={error}", n))
        assert subject.whole(out)
        if ended.code == 0:
            assert n > 5
            assert subject.same(out)
            return
        assert ended.code == 74, ended.err
        assert ended.one_line


@pytest.mark.fault("D03", "D04", "T07")
@pytest.mark.parametrize(("calls", "step"), [(WRITES, 197), ("fsync", 5)], ids=["write", "flush"])
def test_training_on_a_disk_that_fails(
    nursery: Nursery,
    training: Training,
    tmp_path: Path,
    traced: Traced,
    sweep: Sweep,
    long: bool,
    calls: str,
    step: int,
) -> None:
    """A model or a state that has its name loads; going on gives the same model.

    Most flushes are of the maps that it scores. The short form counts those of the model and the state alone.
    """
    for n in sweep(step, 200):
        out = tmp_path / str(n)
        where = [] if long or calls == WRITES else training.own_files(out)
        ended = traced(*training.command(out), flags=[*where, *injection(calls, "error=ENOSPC", n)])
        if ended.code == 0:
            assert training.same(out)
            if calls == "fsync":
                assert n > 10
                return
            continue
        assert ended.code == 74, f"{n}: {ended.code} {ended.err}"
        assert ended.one_line or not ended.err
        assert nursery.run(*training.command(out)).code == 0
        assert training.same(out)


@pytest.mark.fault("D05")
def test_the_nth_read_of_the_input_fails(subject: Subject, tmp_path: Path, traced: Traced, sweep: Sweep) -> None:
    seen = set()
    for n in sweep(2, 40):
        out = tmp_path / str(n)
        flags = ["-P", str(subject.image), *injection(READS, "error=EIO", n)]
        ended = traced(*subject.command(out), flags=flags)
        assert subject.whole(out)
        seen.add(ended.code)
        if ended.code == 0:
            assert subject.same(out)
        else:
            assert ended.code in (65, 74), ended.err
            assert ended.one_line
            assert subject.image.name in ended.err
    assert len(seen) > 1, "some reads must have failed, and the last ones not"


@pytest.mark.fault("D06")
def test_writes_that_take_one_byte(subject: Subject, tmp_path: Path, traced: Traced, sweep: Sweep) -> None:
    """The kernel says that one byte was written, and writes none: the worst liar there is."""
    for n in sweep(11, 60):
        out = tmp_path / str(n)
        ended = traced(*subject.command(out), flags=injection(WRITES, "retval=1", n))
        assert subject.whole(out)
        assert subject.same(out) if ended.code == 0 else ended.code in (65, 70, 74), ended.err


@pytest.mark.fault("D02")
@pytest.mark.parametrize("size", [10_000, 40_000, 70_000, 100_000, 3_000_000])
def test_a_limit_on_the_size_of_files(nursery: Nursery, subject: Subject, tmp_path: Path, size: int) -> None:
    ended = nursery.run(*subject.command(tmp_path / "out"), limits={"FSIZE": size})
    if size == 3_000_000:
        assert ended.code == 0, ended.err
        assert subject.same(tmp_path / "out")
        return
    if size > max(map(len, subject.expected.values())):  # the map is finished, and its report too large
        assert ended.code == 74, ended.err
        assert "a_report.html: cannot be written" in ended.err
        assert subject.whole(tmp_path / "out")
        assert (tmp_path / "out" / "a_run.json").exists()
        return
    assert ended.code == 74, ended.err
    assert ended.one_line
    assert not layer_bytes(tmp_path / "out") if (tmp_path / "out").exists() else True


@pytest.mark.fault("D01", "D08")
@pytest.mark.parametrize(("kilobytes", "suffices"), [(400, False), (2000, True)])
def test_a_disk_with_little_room(subject: Subject, kilobytes: int, suffices: bool) -> None:
    script = f'mount -t tmpfs -o size={kilobytes}k none /mnt && "$@"; code=$?; mkdir -p /mnt/out; cd /mnt/out; ls; exit $code'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no mount namespaces for this user")
    command = [sys.executable, "-m", "agriseg", *subject.command(Path("/mnt/out"))]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False
    )
    if suffices:
        assert done.returncode == 0, done.stderr
        assert "a_classes.tif" in done.stdout
    else:
        assert done.returncode in (73, 74), done.stderr
        assert done.stderr.startswith("agriseg: error: ")
        assert done.stderr.count("\n") == 1
        assert ".tif" not in done.stdout


@pytest.mark.fault("D08")
def test_too_little_room_is_said_before_the_first_tile(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agriseg import segment
    from agriseg.errors import OutputError

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"needs at least \d+ .B there and 1 kB are free"):
        segment(subject.image, subject.model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="agriseg-anybody-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.fault("D07")
@pytest.mark.parametrize("kind", ["a folder of another", "below a file", "a folder in place of an output"])
def test_places_that_cannot_be_written(nursery: Nursery, subject: Subject, anybodys: Path, kind: str) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    out = anybodys / "out"
    if kind == "below a file":
        out.write_text("a file")
        out = out / "below"
    elif kind == "a folder of another":
        out.mkdir(mode=0o555)
    else:
        (out / "a_classes.tif").mkdir(parents=True)
        out.chmod(0o777)
    before = sorted(anybodys.rglob("*"))
    ended = nursery.run(*subject.command(out), uid=NOBODY)
    assert ended.code in (73, 77), ended.err
    assert ended.one_line
    assert sorted(anybodys.rglob("*")) == before


@pytest.mark.fault("D09")
def test_no_folder_for_temporary_files(nursery: Nursery, subject: Subject, anybodys: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    closed = anybodys / "tmp"
    closed.mkdir(mode=0o555)
    ended = nursery.run(*subject.command(anybodys / "out"), uid=NOBODY, env={"TMPDIR": str(closed)})
    assert ended.code == 0, ended.err
    assert subject.same(anybodys / "out")


@pytest.mark.fault("O10")
def test_the_users_umask_counts(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    assert nursery.run(*subject.command(tmp_path / "out"), umask=0o027).code == 0
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o640}
    with rasterio.open(tmp_path / "out" / "a_classes.tif") as dataset:
        assert dataset.count == 1
