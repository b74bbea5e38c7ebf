"""The image's quick look is gathered while a run reads: the same bytes as from a second reading of the raster."""

from pathlib import Path

import numpy as np
import pytest
from conftest import blocks, write_raster

from agriseg import SegmentationModel, segment
from agriseg.figures.cell_means import CellGrid
from agriseg.figures.quicklook import image_quicklook
from agriseg.grid import Window
from agriseg.mapping.checkpoint import RunCheckpoint
from agriseg.mapping.image_means import IMAGE_MEANS
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.options.run import RunOptions
from agriseg.raster.reader import PixelStrip, Reader
from agriseg.storage.base import FolderStorage

RASTER = (1900, 1700)  # rows and columns: two pixels to one of the picture


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = blocks(*RASTER, side=40, low=1)
    pixels[:, 100:900, 50:1000] = 0
    return write_raster(tmp_path_factory.mktemp("image") / "a.tif", pixels, nodata=0, tiled=True)


def gathered(job: MappingJob, folder: Path) -> RunCheckpoint:
    """A checkpoint for which each band was read, in an order of chance."""
    folder.mkdir()
    checkpoint = RunCheckpoint.create(job, FolderStorage(folder))
    with Reader(job.model_input.source) as reader:
        for index in np.random.default_rng(0).permutation(len(checkpoint.bands)):
            strip = reader.read(job.plan.read_window(checkpoint.bands[index]))
            checkpoint.image_means.gather(int(index), strip)
    return checkpoint


@pytest.mark.parametrize(
    "options",
    [
        {"tile": 256}, {"tile": 256, "overlap": 0}, {"tile": 248, "overlap": 0}, {"tile": 256, "band_rows": 3},
        {"tile": 128, "window": Window(33, 17, 1650, 1700)}, {"tile": 2000},
    ],
)  # fmt: skip
def test_what_is_gathered_is_what_a_second_reading_gives(
    small: SegmentationModel, image: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    job = prepare(image, small, RunOptions(**options))  # type: ignore[arg-type]
    means = gathered(job, tmp_path / "work").image_means
    source, roi = job.model_input.source, job.plan.roi
    rows, cols = -(-roi.height // 2), -(-roi.width // 2)
    expected = CellGrid(roi, rows, cols).read(source, (0, 1, 2), range(rows))
    found = means.all()
    np.testing.assert_array_equal(found.means, expected.means)
    np.testing.assert_array_equal(found.valid, expected.valid)
    assert not found.valid.all()


@pytest.mark.parametrize("harm", ["gone", "cut", "bit"])
def test_damaged_means_are_read_again(small: SegmentationModel, image: Path, tmp_path: Path, harm: str) -> None:
    checkpoint = gathered(prepare(image, small, RunOptions(tile=256)), tmp_path / "work")
    expected = checkpoint.image_means.all()
    part = tmp_path / "work" / IMAGE_MEANS / "2"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(bytes(data[:-5] if harm == "cut" else data))
    if harm == "gone":
        part.unlink()
    np.testing.assert_array_equal(checkpoint.image_means.all().means, expected.means)


def test_a_run_does_not_read_the_raster_again(
    small: SegmentationModel, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(CellGrid, "read", lambda *_: pytest.fail("a second reading"))
        report = segment(image, small, tmp_path / "out", tile=256)
    source = prepare(image, small, RunOptions(tile=256)).model_input.source
    expected = image_quicklook(source, Window(0, 0, source.width, source.height), small.bands)
    assert report.record.with_name("a_image.png").read_bytes() == expected


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("shape", [(7, 9, 3, 4), (700, 5, 2, 5), (1, 1, 1, 1), (64, 40, 64, 40)])
def test_means_of_cells(dtype: str, shape: tuple[int, int, int, int]) -> None:
    """Against numpy's means, cell by cell; a cell of 350 rows of 255 sums to more than 16 bits hold."""
    height, width, rows, cols = shape
    rng = np.random.default_rng(0)
    pixels = rng.integers(200, 256, (2, height, width)).astype(dtype)
    valid = rng.random((height, width)) < 0.7
    grid = CellGrid(Window(11, 5, width, height), rows, cols)
    found = grid.means(PixelStrip(grid.window, pixels, valid), (1, 0), range(rows))
    for row, col in np.ndindex(rows, cols):
        (top, bottom), (left, right) = (
            (place * size // many, (place + 1) * size // many)
            for place, size, many in ((row, height, rows), (col, width, cols))
        )
        known = valid[top:bottom, left:right]
        assert found.valid[row, col] == known.any()
        for mean, band in zip(found.means[:, row, col], (1, 0), strict=True):
            expected = pixels[band, top:bottom, left:right][known].mean(dtype=np.float64) if known.any() else 0
            assert mean == pytest.approx(expected, rel=1e-6)
