"""A run that was stopped goes on to the same bytes, and computes next to nothing twice."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from conftest import blocks, layer_bytes, record_of, write_raster

from agriseg import SegmentationModel, segment
from agriseg.backends.torch_backend import TorchBackend
from agriseg.cli import main
from agriseg.cli.common.errors import end_on_signals
from agriseg.errors import BusyError, OutputError, StorageError
from agriseg.files import locked
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import run
from agriseg.options.run import RunOptions
from agriseg.storage.base import FolderStorage
from agriseg.storage.logits_cache import LogitsCache
from agriseg.storage.progress_log import ProgressLog

TILE = {"tile": 96, "overlap": 48, "margin": 16}


class Stop(KeyboardInterrupt):
    """As Ctrl-C does."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif", blocks(330, 290, low=1), nodata=0)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiles that go through the network, one entry a batch."""
    ran: list[int] = []
    plain = TorchBackend.logits

    def counted(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
        ran.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(TorchBackend, "logits", counted)
    return ran


def stopped_after(tiles: int, forwards: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is interrupted after so many tiles of this run."""
    plain, begun = TorchBackend.logits, len(forwards)

    def call(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
        if len(forwards) - begun >= tiles:
            raise Stop
        return plain(self, x)

    monkeypatch.setattr(TorchBackend, "logits", call)


def mapped(image: Path, model: SegmentationModel, out: Path, **flags: Any) -> None:
    prepared = prepare(image, model, RunOptions.of(**{**TILE, **flags}))
    run(prepared, Outputs(out, image.stem, with_probabilities=False))


@pytest.mark.parametrize("stops", [[1], [2, 9], [7], [8, 1, 1, 1], [20, 5]], ids=str)
@pytest.mark.parametrize("band_rows", [1, 2])
def test_going_on_gives_the_same_bytes_and_runs_each_tile_once(
    tmp_path: Path, image: Path, small: SegmentationModel, forwards: list[int], stops: list[int], band_rows: int
) -> None:
    straight = tmp_path / "straight"
    mapped(image, small, straight, band_rows=band_rows)
    probes_and_tiles = len(forwards)
    forwards.clear()
    for tiles in stops:
        with pytest.MonkeyPatch.context() as patch:
            stopped_after(tiles + 1, forwards, patch)  # one more: the probe of the network
            with pytest.raises(Stop):
                mapped(image, small, tmp_path / "again", band_rows=band_rows)
        assert not (tmp_path / "again" / "a_classes.tif").exists()
    mapped(image, small, tmp_path / "again", band_rows=band_rows)
    assert layer_bytes(tmp_path / "again") == layer_bytes(straight)
    assert len(forwards) == probes_and_tiles + len(stops)  # a probe for each start, and no tile twice
    assert record_of(tmp_path / "again")["tiles_run"] == record_of(straight)["tiles_run"] == probes_and_tiles - 1


def test_going_on_counts_unsure_pixels_as_a_straight_run_does(
    tmp_path: Path, image: Path, small: SegmentationModel
) -> None:
    model = replace(small, temperature=0.002)
    mapped(image, model, tmp_path / "straight", min_confidence=0.8)
    stop_once(image, model, tmp_path / "again", 22, min_confidence=0.8)
    mapped(image, model, tmp_path / "again", min_confidence=0.8)
    assert layer_bytes(tmp_path / "again") == layer_bytes(tmp_path / "straight")
    straight, again = (record_of(tmp_path / name) for name in ("straight", "again"))
    for part in ("classes", "pixels", "verdict", "seam_ratio"):
        assert again[part] == straight[part]
    assert 0 < straight["classes"][-1]["pixels"] < straight["pixels"]["predicted"]


@pytest.mark.parametrize("policy", [{}, {"fail_on": "red", "limits": ["doubtful=0:0.001"]}], ids=["", "quarantine"])
@pytest.mark.parametrize("stage", ["make_layers", "write_exports"])
def test_what_is_made_of_a_map_is_made_by_the_next_run_too(
    tmp_path: Path, image: Path, small: SegmentationModel, forwards: list[int], policy: dict[str, Any], stage: str
) -> None:
    flags = {**TILE, **policy, "layers": True, "lang": "zh", "out": tmp_path / "out"}
    with pytest.MonkeyPatch.context() as patch:

        def stop(*_: Any, **__: Any) -> None:
            raise Stop

        patch.setattr(f"agriseg.workflow.{stage}", stop)
        with pytest.raises(Stop):
            segment(image, small, **flags)
    with pytest.raises(OutputError, match="exists and is not overwritten"):
        segment(
            image, small, **{**flags, "out": shutil.copytree(tmp_path / "out", tmp_path / "other"), "blend": "fast"}
        )
    forwards.clear()
    report = segment(image, small, **flags)
    assert len(forwards) == 1  # the probe: no tile runs again
    assert report.layers is not None
    assert report.exports[0].is_file()
    assert not list((tmp_path / "out").rglob("publishing"))
    with pytest.raises(OutputError, match="exists and is not overwritten"):
        segment(image, small, **flags)


def test_a_finished_map_leaves_the_working_folder_of_another_run_alone(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "a", with_probabilities=False)
    outputs.working.mkdir()
    (outputs.working / "counts").write_text("of a run that has begun since")
    outputs.complete()
    assert (outputs.working / "counts").exists()
    (outputs.working / "counts").unlink()
    (outputs.working / "publishing").touch()
    outputs.complete()
    assert not outputs.working.exists()


def stop_once(image: Path, model: SegmentationModel, out: Path, tiles: int, **flags: Any) -> Path:
    """A run that was stopped; returns its working folder."""
    seen: list[int] = []
    plain = TorchBackend.logits
    with pytest.MonkeyPatch.context() as patch:

        def call(self: TorchBackend, x: torch.Tensor) -> torch.Tensor:
            seen.append(1)
            if len(seen) > tiles:
                raise Stop
            return plain(self, x)

        patch.setattr(TorchBackend, "logits", call)
        with pytest.raises(Stop):
            mapped(image, model, out, **flags)
    return out / f".{image.stem}.agriseg"


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x40
    path.write_bytes(data)


def latest(folder: Path) -> Path:
    """The last answer of the last tile row that has been kept."""
    return max((folder / "answers").glob("*/*"), key=lambda path: (int(path.parent.name), int(path.name)))


def overwrite_all(folder: Path, data: bytes) -> None:
    for path in folder.iterdir():
        path.write_bytes(data)


def swap(one: Path, two: Path) -> None:
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a flipped byte in the journal": lambda folder: flip(folder / "journal" / "1", 0.7),
    "the journal's key": lambda folder: flip(folder / "journal" / "key", 0.1),
    "an empty journal": lambda folder: overwrite_all(folder / "journal", b""),
    "random bytes for a journal": lambda folder: overwrite_all(folder / "journal", np.random.default_rng(0).bytes(99)),
    "a cut journal": lambda folder: (folder / "journal" / "0").write_bytes(
        (folder / "journal" / "0").read_bytes()[:-9]
    ),
    "two entries swapped": lambda folder: swap(folder / "journal" / "0", folder / "journal" / "1"),
    "no journal": lambda folder: shutil.rmtree(folder / "journal"),
    "a flipped byte in an answer": lambda folder: flip(latest(folder), 0.5),
    "an answer under another column": lambda folder: latest(folder).rename(latest(folder).with_name("0")),
    "a cut answer": lambda folder: latest(folder).write_bytes(latest(folder).read_bytes()[:-100]),
    "no answers": lambda folder: shutil.rmtree(folder / "answers"),
    "a flipped byte in the store": lambda folder: flip(max((folder / "blocks" / "classes" / "c").rglob("[0-9]")), 0.5),
    "no store": lambda folder: shutil.rmtree(folder / "blocks" / "classes"),
    "no metadata of the store": lambda folder: (folder / "blocks" / "confidence" / "zarr.json").unlink(),
}


@pytest.mark.fault("K04")
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_check_is_computed_again(
    tmp_path: Path, image: Path, small: SegmentationModel, damage: str
) -> None:
    mapped(image, small, tmp_path / "straight")
    folder = stop_once(image, small, tmp_path / "again", 22)
    DAMAGE[damage](folder)
    mapped(image, small, tmp_path / "again")
    assert layer_bytes(tmp_path / "again") == layer_bytes(tmp_path / "straight")


@pytest.mark.fault("K05")
@pytest.mark.parametrize("change", ["pixel", "mask", "model", "tile", "blend", "least"])
def test_another_run_takes_nothing_over(
    tmp_path: Path, image: Path, small: SegmentationModel, model_file: Path, change: str, forwards: list[int]
) -> None:
    stop_once(image, small, tmp_path / "again", 22)
    flags, model = {}, small
    if change == "pixel":
        write_raster(image, blocks(330, 290, low=1, seed=1), nodata=0)
    elif change == "mask":
        hidden = np.full((330, 290), 255, np.uint8)
        hidden[:, 200:] = 0
        spare = write_raster(tmp_path / "spare.tif", blocks(330, 290))
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(spare, "r+") as dataset:
            dataset.write_mask(hidden)
        spare.with_name("spare.tif.msk").rename(image.with_name("a.tif.msk"))
    elif change == "model":
        from agriseg.demo.reference_models import random_network

        model = random_network("fcn_small", seed=3)
    else:
        flags = {"tile": {"tile": 112}, "blend": {"margin": 8}, "least": {"min_confidence": 0.3}}[change]
    forwards.clear()
    mapped(image, model, tmp_path / "fresh", **flags)
    ran = len(forwards)
    mapped(image, model, tmp_path / "again", **flags)
    assert len(forwards) == 2 * ran
    assert layer_bytes(tmp_path / "again") == layer_bytes(tmp_path / "fresh")


@pytest.mark.fault("K03")
def test_a_run_stopped_while_its_outputs_got_their_names_goes_on(
    tmp_path: Path, image: Path, small: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import agriseg.files

    mapped(image, small, tmp_path / "straight")
    plain = agriseg.files.commit
    for name in ("a_classes.tif", "a_confidence.tif", "a_classes.qml", "a_run.json"):

        def commit(draft: Path, final: Path, name: str = name) -> None:
            plain(draft, final)
            if final.name == name:
                raise Stop

        out = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(agriseg.files, "commit", commit)
            with pytest.raises(Stop):
                segment(image, small, out, **TILE)
        assert (out / name).exists()
        if name == "a_run.json":  # complete, but for its working folder: no other run takes it for its own
            with pytest.raises(OutputError, match="exists and is not overwritten"):
                segment(image, small, out, **{**TILE, "margin": 8})
            continue
        segment(image, small, out, **TILE)
        assert layer_bytes(out) == layer_bytes(tmp_path / "straight")
    with pytest.raises(OutputError, match="exists and is not overwritten"):
        segment(image, small, tmp_path / "straight", **TILE)


def test_no_resume_starts_over(tmp_path: Path, image: Path, model_file: Path) -> None:
    from agriseg import load_model

    stop_once(image, load_model(model_file), tmp_path / "out", 22)
    command = ["run", str(image), "-m", str(model_file), "-o", str(tmp_path / "out"), "--tile", "96", "--overlap", "48"]
    with pytest.raises(SystemExit) as left:
        main([*command, "--margin", "16", "--no-resume"])
    assert left.value.code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        layer_bytes(tmp_path / "out") | dict.fromkeys(("a_run.json", "a_report.html"), b"")
    )


@pytest.mark.fault("O03")
def test_one_run_at_a_time(tmp_path: Path, image: Path, small: SegmentationModel) -> None:
    out = Outputs(tmp_path / "out", "a", with_probabilities=False)
    out.folder.mkdir()
    with locked(out.lock), pytest.raises(BusyError, match="another run writes the same outputs"):
        segment(image, small, out.folder, **TILE)
    segment(image, small, out.folder, **TILE)
    assert not out.lock.exists()


# a real signal; tests/faults/test_kills.py sends others to forks


@pytest.mark.fault("K06")
def test_a_signal_keeps_what_is_done(tmp_path: Path, model_file: Path, interruptible_children: None) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(700, 700))
    flags = ["--tile", "64", "--overlap", "32", "--margin", "8"]
    child = subprocess.Popen(
        [sys.executable, "-m", "agriseg", "run", str(image), "-m", str(model_file), "-o", str(tmp_path / "out"), *flags],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert child.stderr is not None
        assert any("tiles" in line for line in child.stderr)
        os.kill(child.pid, signal.SIGINT)
        _, told = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert told.strip().splitlines()[-1].endswith("resume with the same command")
    assert not list((tmp_path / "out").glob("*.tif"))
    tiles = {"tile": 64, "overlap": 32, "margin": 8}
    for out in ("out", "straight"):
        segment(image, model_file, tmp_path / out, **tiles)
    names = {path.name for path in (tmp_path / "straight").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "straight")


# the parts


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    shape, rng = (3, 5, 7), torch.Generator().manual_seed(0)
    kept = LogitsCache(FolderStorage(tmp_path), shape, "key", "one")
    logits = {(row, col): torch.randn(shape, generator=rng) for row in range(3) for col in (4, 0, 2)}
    for place, each in logits.items():
        kept.put(*place, each)
    again = LogitsCache(FolderStorage(tmp_path), shape, "key", "two")
    assert all(torch.equal(again.get(*place), each) for place, each in logits.items())  # type: ignore[arg-type]
    assert again.get(0, 1) is None
    assert LogitsCache(FolderStorage(tmp_path), shape, "another", "two").get(0, 4) is None, "of a run that is over"
    again.discard(range(2))
    assert again.get(1, 4) is None
    assert kept.get(1, 4) is None
    assert torch.equal(again.get(2, 4), logits[2, 4])  # type: ignore[arg-type]


def test_a_journal_of_another_key_is_none(tmp_path: Path) -> None:
    mine = ProgressLog(FolderStorage(tmp_path), "mine")
    assert not mine.is_mine
    assert mine.find(0) is None
    mine.start()
    mine.add(0, "3 tiles")
    assert (mine.is_mine, mine.find(0), mine.numbers) == (True, "3 tiles", [0])
    other = ProgressLog(FolderStorage(tmp_path), "other")
    assert (other.is_mine, other.find(0)) == (False, None)


def test_a_place_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    """A worker that nobody waits for any more leaves nothing behind."""
    place = FolderStorage(tmp_path / "gone")
    with pytest.raises(StorageError, match="cannot be written"):
        place.put("answers/3/4", b"late")
    assert not (tmp_path / "gone").exists()


def test_an_ignored_signal_stays_ignored() -> None:
    """nohup ignores SIGHUP, and the run shall outlive the terminal."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        end_on_signals()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
