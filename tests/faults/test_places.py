"""O, G, S: names, links, locks and places of every kind."""

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import blocks, layer_bytes, read, record_of, write_raster
from PIL import Image
from runs import Nursery, Subject, Training

from agriseg import SegmentationModel, segment

Tries = Callable[[int, int], int]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A second nursery, for two runs at once."""
    nursery = Nursery(tmp_path_factory.mktemp("other"))
    yield nursery
    nursery.close()


@pytest.mark.fault("O03")
def test_two_runs_with_one_output(
    nursery: Nursery, other: Nursery, subject: Subject, tmp_path: Path, tries: Tries
) -> None:
    rng = np.random.default_rng(0)
    for attempt in range(tries(2, 100)):
        out = tmp_path / str(attempt)
        first = nursery.start(*subject.command(out), patches=[["hold", int(rng.integers(0, 30))]])
        first.held()
        second = other.start(*subject.command(out)).ended()
        assert second.code == 75, second.err
        assert second.one_line
        first.go_on()
        assert first.ended().code == 0
        assert subject.same(out)
        assert not list(out.glob(".*"))


@pytest.mark.fault("O03")
def test_two_runs_that_start_together(
    nursery: Nursery, other: Nursery, subject: Subject, tmp_path: Path, tries: Tries
) -> None:
    for attempt in range(tries(3, 100)):
        out = tmp_path / str(attempt)
        children = [each.start(*subject.command(out)) for each in (nursery, other)]
        codes = sorted(child.ended().code for child in children)
        assert codes in ([0, 75], [0, 73]), codes  # 73: the other one had finished already
        assert subject.same(out)


@pytest.mark.fault("O03", "O04")
def test_two_trainings_in_one_folder(nursery: Nursery, other: Nursery, training: Training, tmp_path: Path) -> None:
    first = training.endless(nursery, tmp_path / "out")
    again = ["train", training.config.with_name("endless.toml"), "-o", tmp_path / "out", "-q", "--resume"]
    second = other.start(*again).ended()
    assert (second.code, second.one_line) == (75, True), second.err
    first.signal(signal.SIGKILL)
    first.ended()
    state = tmp_path / "out" / "state.safetensors"
    before = state.stat().st_mtime_ns
    third = other.start(*again)
    while state.stat().st_mtime_ns == before:
        assert third.wait(0.05) is None, "the killed one's lock must not hold"
    third.signal(signal.SIGTERM)
    assert third.ended().code == 143


@pytest.mark.fault("O04")
@pytest.mark.parametrize("kind", ["a killed owner", "a live process in the file"])
def test_a_lock_that_was_left(nursery: Nursery, subject: Subject, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "a killed owner":
        child = nursery.start(*subject.command(out), patches=[["hold", 3]])
        child.held()
        child.signal(signal.SIGKILL)
        child.ended()
        assert (out / ".a.agriseg.lock").exists()
    else:
        out.mkdir()
        (out / ".a.agriseg.lock").write_text(str(os.getpid()))
    assert nursery.run(*subject.command(out)).code == 0
    assert subject.same(out)


def moved(new: Path, image: Path) -> None:
    new.replace(image)


def copied(new: Path, image: Path) -> None:
    image.write_bytes(new.read_bytes())


def cut(_new: Path, image: Path) -> None:
    os.truncate(image, image.stat().st_size // 2)


def longer(_new: Path, image: Path) -> None:
    with image.open("ab") as file:
        file.write(bytes(99))


def gone(_new: Path, image: Path) -> None:
    image.unlink()


@pytest.mark.fault("O05")
@pytest.mark.parametrize("change", [moved, copied, cut, longer, gone])
@pytest.mark.parametrize("tile", [0, 12, 30])
def test_the_input_changes_under_way(
    nursery: Nursery, subject: Subject, tmp_path: Path, change: Callable[[Path, Path], None], tile: int
) -> None:
    mine = Subject(tmp_path / "a.tif", subject.model)
    shutil.copy(subject.image, mine.image)
    new = write_raster(tmp_path / "new.tif", blocks(330, 290, seed=5))
    out = tmp_path / "out"
    child = nursery.start(*mine.command(out), patches=[["hold", tile]])
    child.held()
    change(new, mine.image)
    child.go_on()
    ended = child.ended()
    assert ended.code == 65, ended.err
    assert ended.one_line
    assert not out.exists()


NAMES = [
    "two words.tif", "ünïcödé 畑.tif", "de\u0301compose\u0301.tif", "#?!%*[]{}'\".tif", "tab\there.tif", "line\nbreak.tif",
    "-leading.tif", "http:x.tif", "GTIFF_DIR:1:x.tif", "x" * 220 + ".tif", "$(touch pwn).tif", ";touch pwn;.tif", "a.b.c.tif",
]  # fmt: skip


@pytest.mark.fault("O06", "X13")
@pytest.mark.parametrize("name", NAMES)
def test_names(nursery: Nursery, subject: Subject, tmp_path: Path, name: str) -> None:
    """As relative names, since those are what GDAL might take for something else."""
    shutil.copy(subject.image, tmp_path / name)
    flags = ["-m", subject.model, "-o", "out", "-q", "--tile", "96", "--overlap", "48", "--margin", "16"]
    ended = nursery.run("run", *flags, "--", name, cwd=tmp_path)
    assert ended.code == 0, ended.err
    stem = Path(name).stem
    for key in ("a_classes.tif", "a_confidence.tif"):
        assert (tmp_path / "out" / key.replace("a_", f"{stem}_", 1)).read_bytes() == subject.expected[key]
    assert not (tmp_path / "pwn").exists()
    assert nursery.run("verify", "out", "--tiles", "1", cwd=tmp_path).code == 0


@pytest.mark.fault("O07")
def test_links(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "a.tif").symlink_to(subject.image)
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    mine = Subject(tmp_path / "a.tif", subject.model, subject.expected)
    assert nursery.run(*mine.command(tmp_path / "out")).code == 0
    assert mine.same(tmp_path / "real")
    for name in ("dangling.tif", "loop.tif"):
        ended = nursery.run("run", tmp_path / name, "-m", subject.model, "-o", tmp_path / "none")
        assert (ended.code, ended.one_line) == (66, True), ended.err


@pytest.mark.fault("O08")
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_no_files(nursery: Nursery, subject: Subject, tmp_path: Path, kind: str) -> None:
    image = tmp_path / "a.tif"
    if kind == "folder":
        image.mkdir()
    elif kind == "pipe":
        os.mkfifo(image)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(image))
    else:
        image.symlink_to("/dev/zero")
    ended = nursery.start("run", image, "-m", subject.model, "-o", tmp_path / "out").ended()
    assert (ended.code, ended.one_line) == (66, True), ended.err


@pytest.mark.fault("O01")
def test_overwriting_killed_leaves_old_or_new(nursery: Nursery, subject: Subject, tmp_path: Path, tries: Tries) -> None:
    """An older map is there; at no kill is a file neither of it nor of the new one, nor gone but for the record."""
    rng, flags = np.random.default_rng(0), ["--overwrite"]
    for attempt in range(tries(4, 40)):
        out = tmp_path / str(attempt)
        assert nursery.run(*subject.command(out, "--margin", "8")).code == 0
        old = layer_bytes(out)
        assert old["a_classes.tif"] != subject.expected["a_classes.tif"]
        child = nursery.start(*subject.command(out, *flags))
        if child.wait(rng.uniform(0, 1.0)) is None:
            child.signal(signal.SIGKILL)
            child.ended()
        assert all((out / name).read_bytes() in (data, subject.expected[name]) for name, data in old.items())
        assert nursery.run(*subject.command(out, *flags)).code == 0
        assert subject.same(out)


# georeference

LOCAL = 'LOCAL_CS["field",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
SYSTEMS = ["ESRI:54009", "EPSG:25832+5783", "IAU_2015:49900", "EPSG:3857", "EPSG:27700", LOCAL]


@pytest.mark.fault("G06")
@pytest.mark.parametrize("crs", SYSTEMS)
def test_unusual_systems_are_kept(tmp_path: Path, oracle: SegmentationModel, crs: str) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(70, 90), crs=rasterio.crs.CRS.from_user_input(crs))
    report = segment(image, oracle, tmp_path / "out")
    with rasterio.open(image) as source, rasterio.open(report.classes) as mask:
        assert source.crs is not None
        assert mask.crs == source.crs


@pytest.mark.fault("G07")
@pytest.mark.parametrize(
    "bounds", [(-180, -90, 180, 90), (179.99, 10, 180.01, 10.02), (-0.01, -0.01, 0.01, 0.01)], ids=str
)
def test_degrees_anywhere(tmp_path: Path, oracle: SegmentationModel, bounds: tuple[float, ...]) -> None:
    where = {"crs": "EPSG:4326", "transform": rasterio.transform.from_bounds(*bounds, 90, 70)}
    report = segment(write_raster(tmp_path / "a.tif", blocks(70, 90), **where), oracle, tmp_path / "out")
    with rasterio.open(tmp_path / "a.tif") as source, rasterio.open(report.classes) as mask:
        assert (mask.bounds, mask.transform) == (source.bounds, source.transform)
    assert all(count.hectares is not None and count.hectares >= 0 for count in report.counts)


@pytest.mark.fault("G08")
@pytest.mark.parametrize("kind", ["tfw", "aux.xml", "point"])
def test_georeference_beside_the_file(tmp_path: Path, oracle: SegmentationModel, kind: str) -> None:
    image = tmp_path / "a.tif"
    if kind == "point":
        write_raster(image, blocks(70, 90))
        with rasterio.open(image, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT="Point")
    else:
        write_raster(image, blocks(70, 90), crs=None, transform=None)
        if kind == "tfw":
            (tmp_path / "a.tfw").write_text("0.1\n0\n0\n-0.1\n500000.05\n5399999.95\n")
        else:
            (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32632</SRS></PAMDataset>")
    report = segment(image, oracle, tmp_path / "out")
    with rasterio.open(image) as source, rasterio.open(report.classes) as mask:
        assert (mask.crs, mask.transform) == (source.crs, source.transform)
        assert source.crs is not None or source.transform != rasterio.Affine.identity()


@pytest.mark.fault("G01")
def test_a_georeference_can_be_demanded(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(70, 90), crs=None, transform=None)
    command = ["run", image, "-m", subject.model, "-o", tmp_path / "out", "-q"]
    ended = nursery.run(*command, "--require-crs")
    assert (ended.code, ended.one_line) == (65, True), ended.err
    assert nursery.run(*command).code == 0


@pytest.mark.fault("G10")
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_tag_turns_nothing_and_is_told(
    tmp_path: Path, oracle: SegmentationModel, orientation: int
) -> None:
    pixels = blocks(70, 90)
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(tmp_path / "a.tif", tiffinfo={274: orientation})
    report = segment(tmp_path / "a.tif", oracle, tmp_path / "out")
    plain = segment(write_raster(tmp_path / "b.tif", pixels), oracle, tmp_path / "plain")
    np.testing.assert_array_equal(read(report.classes), read(plain.classes))
    assert any("orientation" in text for text in record_of(tmp_path / "out")["warnings"])


@pytest.mark.fault("S01")
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (1, 65537), (2, 2)], ids=str)
def test_thin_rasters(nursery: Nursery, subject: Subject, tmp_path: Path, shape: tuple[int, int]) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(*shape))
    ended = nursery.run("run", image, "-m", subject.model, "-o", tmp_path / "out", "-q")
    assert ended.code == 0, ended.err
    assert read(tmp_path / "out" / "a_classes.tif").shape == (1, *shape)


@pytest.mark.fault("S01")
@pytest.mark.parametrize("shape", [(700, 1), (1, 700), (2000, 3)], ids=str)
@pytest.mark.parametrize("gsd", ["native", 0.2])
def test_thin_rasters_with_overviews(
    tmp_path: Path, oracle: SegmentationModel, shape: tuple[int, int], gsd: Any
) -> None:
    """GDAL counts an overview's decimation by its columns, of which these have too few."""
    pixels = blocks(*shape)
    plain = segment(write_raster(tmp_path / "a.tif", pixels), oracle, tmp_path / "plain", gsd="native")
    with rasterio.open(write_raster(tmp_path / "b.tif", pixels), "r+") as dataset:
        dataset.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
    layered = segment(tmp_path / "b.tif", oracle, tmp_path / "layered", gsd=gsd)
    if gsd == "native":
        np.testing.assert_array_equal(read(layered.classes), read(plain.classes))
    assert layered.pixels.nodata == layered.pixels.failed == 0


SIDES = (1, 31, 63, 64, 65, 80, 96, 127, 128, 129, 160, 200)


@pytest.mark.fault("S02")
@pytest.mark.parametrize("height", SIDES)
def test_sizes_around_the_tile(tmp_path: Path, small: SegmentationModel, height: int, long: bool) -> None:
    """Twelve heights by twelve widths, exact against one untiled forward; each with four of the other in the short form."""
    from agriseg.demo.selftest import whole_forward

    wrong: list[Any] = []
    for width in SIDES if long else SIDES[SIDES.index(height) % 3 :: 3]:
        pixels = blocks(height, width, seed=width)
        image = write_raster(tmp_path / "a.tif", pixels)
        report = segment(image, small, tmp_path / "out", tile=128, blend="exact", precision="fp32", overwrite=True)
        if (differing := np.count_nonzero(read(report.classes)[0] != whole_forward(small, pixels))) > 1e-5 * pixels[
            0
        ].size:
            wrong.append((width, differing))
    assert not wrong
