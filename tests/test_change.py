"""Change between two dates: how two images lie to each other, and what is another class once that is taken out."""

import csv
import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import DATA, UTM, noise, read, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import finished
from pyproj import Transformer
from rasterio.warp import transform_bounds
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.ndimage import shift as moved

from agriseg.change.compare import ChangeOptions, make_change
from agriseg.change.coregister import NoCommonGround, Shift, measure_shift
from agriseg.change.pair import check_trend
from agriseg.change.regrid import GridTransform, RegriddedGray, overlap
from agriseg.change.transitions import MapPair, Transitions, transition_legend
from agriseg.cli import main
from agriseg.errors import DataError, UsageError
from agriseg.maps.reader import FinishedMap
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.reports.report import write_report

SIDE = 600
SHIFTS = [(0, 0), (0.5, -0.5), (3.3, -7.25), (-19.5, 0.75), (12.4, -16.1), (20, 20)]
"""Rows and columns by which the later picture lies further on."""
TEXTURE = gaussian_filter(np.random.default_rng(5).normal(size=(SIDE + 120, SIDE + 120)), 1.5)
DISCS = [
    (150, 160, 60, 75), (170, 420, 45, 0), (430, 170, 0, 55), (400, 420, 70, 40), (300, 300, 40, 40), (60, 320, 30, 30),
]  # fmt: skip
"""Row, column and radius (px) at both dates of patches of weed."""


def classes(date: int, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """What grows at a place of the ground: a crop in rows, weed in discs."""
    found = ((col + 12.37) // 25 % 2).astype(np.uint8)
    found[(date == 1) & (abs(row - 505) < 34.3) & (abs(col - 425) < 94.3)] = 0  # harvested
    for disc in DISCS:
        found[np.hypot(row - disc[0], col - disc[1]) < disc[2 + date]] = 2
    return found


def picture(date: int, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    """(3, H, W) uint8 of these places; what is dark at one date is bright at the other."""
    light = np.array([[60, 130, 100], [150, 90, 180]])[date][classes(date, row, col)]
    grain = map_coordinates(TEXTURE, [row + 60, col + 60], order=3, mode="reflect") * (250, 180)[date]
    return np.clip(light + grain + np.array([0, 20, -20])[:, None, None], 1, 255).astype(np.uint8)


def ground(shift: tuple[float, float] = (0, 0), side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """The places that pixels show."""
    row, col = np.indices((side, side), np.float64)
    return row - shift[0], col - shift[1]


def dated(folder: Path, date: int, places: tuple[np.ndarray, np.ndarray], **where: Any) -> FinishedMap:
    """A finished map and its image, a date's places of the ground."""
    folder.mkdir(parents=True, exist_ok=True)
    at = {key: value for key, value in where.items() if key in ("crs", "transform")}
    image = write_raster(folder / "image.tif", picture(date, *places), **at)
    with rasterio.open(image) as dataset:
        size = {"width": dataset.width, "height": dataset.height, "bytes": image.stat().st_size}
    told = {"input": {"path": str(image), **size}}
    mask = where.pop("mask", None)
    return finished(folder, classes(date, *places) if mask is None else mask, record=told, **where)


def whole(path: Path, bands: tuple[int, ...] = (1, 2, 3)) -> Source:
    info = RasterInfo.read(path)
    return Source(info, bands, ValidityRule.of(info), info.width, info.height)


def shift_of(earlier: Path, later: Path, bands: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 2, 3),) * 2) -> Shift:
    one, two = (whole(path, wanted) for path, wanted in zip((earlier, later), bands, strict=True))
    grid, sizes = one.info.georeference, [(each.width, each.height) for each in (one, two)]
    window = overlap(grid, sizes[0], two.info.georeference, sizes[1])
    assert window is not None
    return measure_shift(one, two, grid, window)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, tuple[float, float]], FinishedMap]:
    """Maps by date and shift, made once."""
    made: dict[Any, FinishedMap] = {}

    def field(date: int, shift: tuple[float, float] = (0, 0)) -> FinishedMap:
        if (date, shift) not in made:
            made[date, shift] = dated(tmp_path_factory.mktemp("field"), date, ground(shift))
        return made[date, shift]

    return field


def truth() -> np.ndarray:
    """(3, 3) hectares from class to class."""
    before, after = (classes(date, *ground()) for date in (0, 1))
    counts = np.bincount(3 * before.ravel() + after.ravel(), minlength=9).reshape(3, 3)
    return counts * 0.01 / 10_000


@pytest.mark.parametrize("shift", SHIFTS)
def test_change_is_within_2_percent_of_the_truth_whatever_the_shift(fields: Callable, tmp_path: Path, shift) -> None:
    made = make_change(fields(0).folder, fields(1, shift).folder, tmp_path)
    found = made.facts["shift"]
    assert np.hypot(found["rows"] - shift[0], found["cols"] - shift[1]) < 0.2
    assert found["metres_east"] == pytest.approx(0.1 * found["cols"], abs=0.01)
    assert found["metres_north"] == pytest.approx(-0.1 * found["rows"], abs=0.01)
    expected = truth()
    gain, loss = expected.sum(0) - expected.diagonal(), expected.sum(1) - expected.diagonal()
    for k, row in enumerate(made.facts["classes"]):
        assert row["gain_ha"] == pytest.approx(gain[k], rel=0.02)
        assert row["loss_ha"] == pytest.approx(loss[k], rel=0.02)


def test_nothing_has_changed_on_the_day_itself(fields: Callable, tmp_path: Path) -> None:
    again = dated(tmp_path / "again", 0, ground())
    facts = make_change(fields(0).folder, again.folder, tmp_path).facts
    assert (facts["shift"]["cols"], facts["shift"]["rows"], facts["changed_pixels"]) == (0, 0, 0)
    assert facts["unchanged_share"] == 1
    assert all((row["gain_ha"], row["loss_ha"], row["net_ha"]) == (0, 0, 0) for row in facts["classes"])
    assert not read(tmp_path / "field_change.tif").any()


def test_swapping_the_dates_swaps_gain_and_loss(fields: Callable, tmp_path: Path) -> None:
    there, back = (make_change(fields(one).folder, fields(1 - one).folder, tmp_path / str(one)).facts for one in (0, 1))
    np.testing.assert_array_equal(np.array(there["matrix_px"]), np.array(back["matrix_px"]).T)
    for one, two in zip(there["classes"], back["classes"], strict=True):
        assert (one["gain_ha"], one["loss_ha"], one["net_ha"]) == (two["loss_ha"], two["gain_ha"], -two["net_ha"])
    assert there["unchanged_share"] == back["unchanged_share"]


def patchy(height: int, width: int, *, seed: int, classes: int = 3) -> np.ndarray:
    """(H, W) class ids in patches of 5 px, some nodata."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([*range(classes), 255], size=(-(-height // 5), -(-width // 5)))
    return coarse.repeat(5, 0).repeat(5, 1)[:height, :width].astype(np.uint8)


def counted(earlier: FinishedMap, later: FinishedMap, shift: tuple[float, float] = (0, 0)) -> Transitions:
    with MapPair(earlier, later, shift) as dates:
        return dates.count()


def slid(mask: np.ndarray, down: int, right: int) -> np.ndarray:
    """What is `down` and `right` of each pixel; nodata beyond."""
    out, (height, width) = np.full_like(mask, 255), mask.shape
    rows, cols = np.arange(height) + down, np.arange(width) + right
    row, col = (rows >= 0) & (rows < height), (cols >= 0) & (cols < width)
    out[np.ix_(row, col)] = mask[np.ix_(rows[row], cols[col])]
    return out


BESIDE = [(0, 1), (0, -1), (1, 0), (-1, 0)]


def settled(before: np.ndarray, later: np.ndarray, down: int, right: int, part: float) -> np.ndarray:
    """Later classes on the earlier grid, `down + part` and `right - part` further on; 3 is no data."""
    after = slid(later, down, right)
    after[after == 255] = 3
    if not part:
        return after
    step = 1 if part > 0 else -1
    near = [slid(later, down + r, right - c) == before for r, c in product((0, step), repeat=2)]
    already = np.any([slid(before, r, c) == after for r, c in BESIDE], axis=0)
    return np.where((before < 3) & (after < 3) & already & np.any(near, axis=0), before, after)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), down=st.integers(-9, 9), right=st.integers(-9, 9), part=st.sampled_from([0, 0.3, -0.4]))
def test_every_transition_is_counted_as_numpy_counts_it(
    tmp_path_factory: pytest.TempPathFactory, seed: int, down: int, right: int, part: float
) -> None:
    masks = [patchy(530, 1090, seed=2 * seed + date) for date in (0, 1)]
    folder = tmp_path_factory.mktemp("pair")
    wide = {
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(0.01, 0, 9, 0, -0.01, 52),
    }  # rows of 18 to 19 % other areas
    maps = [finished(folder / str(date), masks[date], **wide) for date in (0, 1)]
    with MapPair(*maps, (down + part, right - part)) as dates:
        found, layer = dates.count(), dates.read(0, 530)[0]
    before = np.minimum(masks[0], 3)
    after = settled(before, masks[1], down, right, part)
    areas = maps[0].areas(range(530))
    assert areas is not None
    for one, two in product(range(4), range(4)):
        member = (before == one) & (after == two)
        assert found.pixels[one, two] == member.sum()
        assert found.square_metres is not None
        assert found.square_metres[one, two] == pytest.approx(areas @ member.sum(1), rel=1e-9)
    valid = (before < 3) & (after < 3)
    assert found.valid_pixels == valid.sum()
    assert sum(hectares for *_, hectares in found.pairs()) == pytest.approx(areas @ valid.sum(1) / 1e4, rel=1e-6)
    np.testing.assert_array_equal(layer, np.where(valid, np.where(before == after, 0, 3 * before + after + 1), 255))
    edges = [
        np.any([slid(classes_, r, c) == other for r, c in BESIDE], axis=0)
        for classes_, other in ((after, before), (before, after))
    ]
    inner = (valid & (before != after) & edges[0] & edges[1])[1:-1, 1:-1].sum()
    assert inner <= found.edge_pixels <= inner + 2 * (530 + 1090)  # what lies beyond the grid has a say on its border


def test_the_layer_says_what_became_of_each_pixel(tmp_path: Path) -> None:
    masks = [patchy(530, 1090, seed=date) for date in (0, 1)]
    maps = [finished(tmp_path / str(date), masks[date]) for date in (0, 1)]
    with MapPair(*maps, (0, 0)) as dates:
        found = dates.read(0, 530)
        np.testing.assert_array_equal(np.concatenate([dates.read(0, 7), dates.read(7, 530)], axis=1), found)
    names = transition_legend(maps[0].legend).names
    told = np.array([*names, *[""] * 245, "nodata"])[found[0]]
    expected = np.array(["soil", "crop", "weed"])[np.minimum(masks, 2)]
    joined = np.char.add(np.char.add(expected[0], " -> "), expected[1])
    joined[expected[0] == expected[1]] = "unchanged"
    joined[(masks[0] == 255) | (masks[1] == 255)] = "nodata"
    np.testing.assert_array_equal(told, joined)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    mask = patchy(200, 200, seed=1)
    one = finished(tmp_path / "one", mask)
    other = np.array([2, 0, 1, *[255] * 253], np.uint8)[mask]
    two = finished(tmp_path / "two", other, names=("crop", "weed", "soil"))
    assert counted(one, two).changed_pixels == 0
    two = finished(tmp_path / "three", mask, names=("soil", "crop", "rust"))
    with pytest.raises(DataError, match=r"soil, crop, rust.*soil, crop, weed"):
        counted(one, two)


def test_fifteen_classes_have_a_value_for_each_change(tmp_path: Path) -> None:
    names = tuple(f"class {k}" for k in range(16))
    before, after = (mask.astype(np.uint8) for mask in np.indices((16, 16)))
    before[15], after[:, 15] = 255, 255
    one, two = (finished(tmp_path / str(k), mask, names=names[:15]) for k, mask in enumerate((before, after)))
    with MapPair(one, two, (0, 0)) as dates:
        found = dates.read(0, 16)[0]
    expected = 15 * before.astype(int) + after + 1
    np.testing.assert_array_equal(found[:15, :15], np.where(before == after, 0, expected)[:15, :15])
    assert (found[15] == 255).all()
    assert (found[:, 15] == 255).all()
    many = finished(tmp_path / "many", before, names=names)
    with pytest.raises(DataError, match="16 classes, expected at most 15"):
        counted(many, many)


def test_a_value_that_is_no_class_is_refused(tmp_path: Path) -> None:
    mask = patchy(50, 50, seed=1)
    one = finished(tmp_path / "one", mask)
    mask[20, 30] = 7
    with pytest.raises(DataError, match="holds 7, which is no class"):
        counted(one, finished(tmp_path / "two", mask))


ELSEWHERE = {
    "finer": ("EPSG:32632", 0.05, 0.0), "coarser": ("EPSG:32632", 0.13, 0.0), "turned": ("EPSG:32632", 0.1, 20.0),
    "next zone": ("EPSG:32633", 0.1, 0.0), "degrees": ("EPSG:4326", 1e-6, 0.0), "south up": ("EPSG:32632", -0.1, 0.0),
}  # fmt: skip
"""CRS, side of a pixel and degrees of turn of later grids."""


def elsewhere(crs: str, side: float, turn: float) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Transform of a grid around the field, and rows and columns of the field that its pixels show."""
    frame = rasterio.transform.array_bounds(SIDE, SIDE, UTM["transform"])
    left, bottom, right, top = transform_bounds(UTM["crs"], crs, *frame, densify_pts=51)
    count = int(max(right - left, top - bottom) / abs(side)) + 2
    corner = rasterio.Affine(abs(side), 0, left, 0, -side, top if side > 0 else bottom)
    turned = corner @ rasterio.Affine.rotation(turn, (count / 2, count / 2))
    cols, rows = np.meshgrid(np.arange(count) + 0.5, np.arange(count) + 0.5)
    x, y = Transformer.from_crs(crs, UTM["crs"], always_xy=True).transform(*(turned @ (cols, rows)))
    col, row = ~UTM["transform"] @ (np.asarray(x), np.asarray(y))
    return turned, (row - 0.5, col - 0.5)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_later_map_may_have_another_grid(fields: Callable, tmp_path: Path, name: str) -> None:
    transform, (row, col) = elsewhere(*ELSEWHERE[name])
    later = dated(tmp_path / "later", 1, (row - 6, col + 9), crs=ELSEWHERE[name][0], transform=transform)
    facts = make_change(fields(0).folder, later.folder, tmp_path).facts
    assert np.hypot(facts["shift"]["rows"] - 6, facts["shift"]["cols"] + 9) < 0.3
    assert any("pixels of" in text for text in facts["warnings"]) == (name in ("finer", "coarser"))
    expected = truth()
    for k, found in enumerate(facts["classes"]):
        assert found["gain_ha"] == pytest.approx((expected.sum(0) - expected.diagonal())[k], rel=0.03)


def test_maps_may_be_coarser_than_their_images(tmp_path: Path) -> None:
    """As where a run has resampled the image to what its model knows."""
    folders = []
    for date, shift in enumerate([(0, 0), (6.6, -13)]):
        folders.append(tmp_path / str(date))
        dated(folders[-1], date, ground(shift))
        row, col = ground(side=SIDE // 2)
        mask = classes(date, 2 * row + 0.5 - shift[0], 2 * col + 0.5 - shift[1])
        told = json.loads((folders[-1] / "field_run.json").read_text())
        finished(folders[-1], mask, transform=UTM["transform"] @ rasterio.Affine.scale(2), record=told)
    facts = make_change(*folders, tmp_path / "out").facts
    assert facts["shift"]["rows"] == pytest.approx(3.3, abs=0.1)
    assert facts["shift"]["cols"] == pytest.approx(-6.5, abs=0.1)
    assert facts["classes"][2]["gain_ha"] == pytest.approx(truth()[:2, 2].sum(), rel=0.02)


def test_pixels_of_another_grid_lie_where_proj_says(fields: Callable) -> None:
    here = fields(0).georeference
    for name, (crs, *_) in ELSEWHERE.items():
        transform, _ = elsewhere(*ELSEWHERE[name])
        there = Georeference(rasterio.crs.CRS.from_user_input(crs), transform)
        rows, cols = np.arange(-3.25, 700), np.arange(90.5, 290)
        row, col = np.broadcast_arrays(*GridTransform(here, there).cross(rows, cols))
        x, y = here.transform @ tuple(axis + 0.5 for axis in np.meshgrid(cols, rows))
        away = Transformer.from_crs(here.crs, crs, always_xy=True).transform(x, y)
        expected = ~transform @ tuple(np.asarray(axis) for axis in away)
        np.testing.assert_allclose(col, expected[0] - 0.5, atol=0.01)
        np.testing.assert_allclose(row, expected[1] - 0.5, atol=0.01)


def test_the_shift_of_two_real_flights_is_found(tmp_path: Path) -> None:
    one, two = (DATA / "naip_rgbn" / f"{day}.tif" for day in (20160816, 20190904))
    unmoved = shift_of(one, two)
    assert unmoved.metres is not None
    assert unmoved.metres < 5  # a pixel
    assert unmoved.agreement > 0.9
    back, near_infrared = shift_of(two, one), shift_of(one, two, ((1,), (4,)))
    assert np.hypot(unmoved.rows + back.rows, unmoved.cols + back.cols) < 0.2
    assert np.hypot(unmoved.rows - near_infrared.rows, unmoved.cols - near_infrared.cols) < 0.3
    pixels = read(two)
    with rasterio.open(two) as dataset:
        where = {"crs": dataset.crs, "transform": dataset.transform, "nodata": 0}
    for shift in SHIFTS[1:]:
        slid_ = [np.clip(moved(band.astype(float), shift, order=3, cval=0), 0, 255) for band in pixels]
        later = write_raster(tmp_path / "later.tif", np.stack(slid_).astype(np.uint8), **where)
        found = shift_of(one, later)
        assert np.hypot(found.rows - unmoved.rows - shift[0], found.cols - unmoved.cols - shift[1]) < 0.2
    for other in (pixels[:, ::-1], pixels[:, :, ::-1], np.roll(pixels, (240, 250), (1, 2))):
        later = write_raster(tmp_path / "later.tif", other.copy(), **where)
        with pytest.raises(NoCommonGround, match="do not show the same ground"):
            shift_of(one, later)


def test_pictures_of_other_ground_are_refused(fields: Callable, tmp_path: Path) -> None:
    one = fields(0).folder / "image.tif"
    bright = picture(1, *ground())
    coarse = gaussian_filter(np.random.default_rng(9).normal(size=(SIDE, SIDE)), 1.5) * 250 + 120
    for name, other in {
        "mirrored": bright[:, :, ::-1].copy(), "noise": noise(SIDE, SIDE), "blank": np.full_like(bright, 90),
        "other": np.stack([np.clip(coarse, 0, 255).astype(np.uint8)] * 3),
    }.items():  # fmt: skip
        later = write_raster(tmp_path / f"{name}.tif", other)
        with pytest.raises(NoCommonGround, match=f"image.tif, {name}.tif: the two images do not show the same ground"):
            shift_of(one, later)


def test_gaps_that_both_have_are_no_ground_that_both_show(tmp_path: Path) -> None:
    rough = gaussian_filter(np.random.default_rng(3).normal(size=(SIDE, SIDE)), 6)
    gaps, ramp = rough > np.quantile(rough, 0.8), np.linspace(0, 180, SIDE).astype(np.uint8)

    def gappy(name: str, pixels: np.ndarray) -> Path:
        return write_raster(tmp_path / f"{name}.tif", np.where(gaps, 0, pixels // 8 + ramp).astype(np.uint8), nodata=0)

    one = gappy("one", picture(0, *ground()))
    found = shift_of(one, gappy("same", picture(1, *ground((7, -4)))))
    assert (found.rows, found.cols) == (pytest.approx(7, abs=0.1), pytest.approx(-4, abs=0.1))
    with pytest.raises(NoCommonGround):
        shift_of(one, gappy("other", picture(0, *ground())[:, ::-1]))


def test_half_of_the_ground_must_be_the_same(fields: Callable, tmp_path: Path) -> None:
    for width, same in ((200, True), (400, False)):
        pixels = picture(1, *ground((3, 0)))
        pixels[:, :, :width] = noise(SIDE, width)
        later = write_raster(tmp_path / "image.tif", pixels)
        if same:
            assert shift_of(fields(0).folder / "image.tif", later).rows == pytest.approx(3, abs=0.1)
            continue
        with pytest.raises(NoCommonGround, match="patches agree"):
            shift_of(fields(0).folder / "image.tif", later)


def test_smaller_pixels_are_averaged_and_gaps_known(tmp_path: Path) -> None:
    pixels = noise(90, 120, bands=2, low=1)
    pixels[:, 30:60, 30:60] = 0
    source = whole(write_raster(tmp_path / "image.tif", pixels, nodata=0), (1, 2))
    grid = source.info.georeference.shifted(0, 0, 3, 3)
    with RegriddedGray(source, grid, (15, 20)) as seen:
        grey, valid = seen.read(np.arange(-2.0, 30), np.arange(5.0, 45))
    expected = pixels.mean(0).reshape(30, 3, 40, 3).mean((1, 3))
    gap = np.zeros((30, 40), bool)
    gap[10:20, 10:20] = True
    np.testing.assert_array_equal(valid[2:, :35], ~gap[:, 5:])
    np.testing.assert_allclose(grey[2:, :35][valid[2:, :35]], expected[:, 5:][~gap[:, 5:]], rtol=1e-5)
    assert not valid[:2].any()
    assert not valid[:, 35:].any()


def left_with(command: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(command)
    return int(left.value.code)


def test_the_command_from_end_to_end(fields: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, out = fields(0), fields(1, (3.3, -7.25)), tmp_path / "out"
    command = ["change", str(one.folder), str(two.folder / "field_run.json"), "-o", str(out)]
    assert left_with([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [
        "field_change.csv",
        "field_change.qml",
        "field_change.tif",
        "field_change.tif.aux.xml",
        "field_change.json",
    ]
    assert told.pop("files") == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    record = json.loads((out / "field_change.json").read_text())
    assert {name: record[name] for name in told} == told
    assert list(record["outputs"]) == names[:-1]
    with (out / "field_change.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    matrix = np.array(record["matrix_m2"])
    assert [(row["from"], row["to"]) for row in rows] == list(product(one.legend.names, repeat=2))
    np.testing.assert_allclose([float(row["ha"]) * 1e4 for row in rows], matrix.ravel(), atol=1e-3)
    with rasterio.open(out / "field_change.tif") as dataset:
        assert dataset.colormap(1)[0] == (217, 217, 217, 255)
        assert dataset.tags(1)["CLASS_3"] == "soil -> weed"
        assert (dataset.transform, dataset.crs.to_epsg(), dataset.nodata) == (UTM["transform"], 32632, 255)
        values = np.bincount(dataset.read(1).ravel(), minlength=256)
    assert values[[2, 3, 4, 6, 7, 8]].tolist() == [int(rows[k]["pixels"]) for k in (1, 2, 3, 5, 6, 7)]
    assert "soil -&gt; weed" in (out / "field_change.qml").read_text()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert left_with(command) == 73
    assert "exists" in capsys.readouterr().err
    assert left_with([*command, "--overwrite"]) == 0
    shown = capsys.readouterr().out
    assert "m west" in shown
    assert "corrected" in shown
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_shift_may_be_left_in(fields: Callable, tmp_path: Path) -> None:
    aligned = make_change(fields(0).folder, fields(1, (0, 1)).folder, tmp_path / "aligned")
    assert aligned.warnings == []
    made = make_change(fields(0).folder, fields(1, (0, 1)).folder, tmp_path, ChangeOptions(align=False))
    assert made.facts["shift"] == {**aligned.facts["shift"], "taken_out": False}
    assert "0.10 m (1.0 px)" in made.warnings[0]
    assert "are on edges" in made.warnings[1]
    spurious = made.facts["changed_pixels"] - aligned.facts["changed_pixels"]
    assert spurious > 0.8 * (SIDE**2 / 25 - 69 * 189 / 25)  # each edge of each row


def test_a_map_of_unknown_shift_can_be_taken_as_it_lies(fields: Callable, tmp_path: Path) -> None:
    later = dated(tmp_path / "later", 1, ground())
    write_raster(tmp_path / "later" / "image.tif", noise(SIDE, SIDE))
    with pytest.raises(NoCommonGround):
        make_change(fields(0).folder, later.folder, tmp_path / "out")
    made = make_change(fields(0).folder, later.folder, tmp_path / "out", ChangeOptions(align=False))
    assert made.facts["shift"] is None
    assert any("the shift is unknown" in text for text in made.warnings)


def test_no_ground_no_hectares(tmp_path: Path) -> None:
    """Without a CRS pixels are told alone."""
    plain = {"crs": None, "transform": rasterio.Affine.identity()}
    one, two = (dated(tmp_path / str(date), date, ground((0, 5 * date)), **plain) for date in (0, 1))
    facts = make_change(one.folder, two.folder, tmp_path / "out").facts
    assert facts["shift"]["cols"] == pytest.approx(5, abs=0.1)
    assert facts["matrix_m2"] is None
    assert all(row["gain_ha"] is None for row in facts["classes"])
    assert facts["shift"]["metres_east"] is None
    expected = truth() * 1e6
    np.testing.assert_allclose(np.diag(facts["matrix_px"])[2], expected[2, 2], rtol=0.02)
    with pytest.raises(UsageError, match="no CRS"):
        make_change(one.folder, two.folder, tmp_path / "more", ChangeOptions(max_shift=3))


def far(fields: Callable, folder: Path) -> list[Any]:
    return [fields(0).folder, dated(folder / "far", 1, ground((35, 20))).folder]


def near(fields: Callable, folder: Path) -> list[Any]:
    return [fields(0).folder, fields(1, (20, 20)).folder, "--max-shift", "2m"]


def twice(fields: Callable, _folder: Path) -> list[Any]:
    return [fields(0).folder, fields(0).folder / "field_run.json"]


def several(fields: Callable, folder: Path) -> list[Any]:
    finished(folder / "several", patchy(20, 20, seed=1))
    finished(folder / "several", patchy(20, 20, seed=1), stem="other")
    return [fields(0).folder, folder / "several"]


def nothing(fields: Callable, folder: Path) -> list[Any]:
    return [fields(0).folder, folder]


def imageless(fields: Callable, folder: Path) -> list[Any]:
    dated(folder / "imageless", 1, ground())
    (folder / "imageless" / "image.tif").unlink()
    return [fields(0).folder, folder / "imageless"]


def wrong_image(fields: Callable, folder: Path) -> list[Any]:
    other = write_raster(folder / "other.tif", noise(SIDE, SIDE, bands=1))
    return [fields(0).folder, fields(1, (20, 20)).folder, "--later-image", other]


def apart(fields: Callable, folder: Path) -> list[Any]:
    away = UTM["transform"] @ rasterio.Affine.translation(601, 0)
    return [fields(0).folder, dated(folder / "apart", 1, ground(), transform=away).folder]


def barely(fields: Callable, folder: Path) -> list[Any]:
    away = UTM["transform"] @ rasterio.Affine.translation(500, 0)
    return [fields(0).folder, dated(folder / "barely", 1, ground((0, -500)), transform=away).folder]


def one_crs(fields: Callable, folder: Path) -> list[Any]:
    return [fields(0).folder, dated(folder / "plain", 1, ground(), crs=None).folder]


def sizes(_fields: Callable, folder: Path) -> list[Any]:
    made = [dated(folder / str(side), 0, ground(side=side), crs=None).folder for side in (200, 210)]
    return list(made)


def blank(fields: Callable, folder: Path) -> list[Any]:
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    return [fields(0).folder, dated(folder / "blank", 1, ground(), mask=mask).folder]


def rust(fields: Callable, folder: Path) -> list[Any]:
    return [fields(0).folder, dated(folder / "rust", 1, ground(), names=("soil", "crop", "rust")).folder]


REFUSED: list[tuple[Callable[..., list[Any]], int, str]] = [
    (far, 65, "more than 3 m or 30 px"), (near, 65, "more than 2 m"), (twice, 2, "named for both dates"),
    (several, 2, "holds 2 maps"), (nothing, 66, "no record"), (imageless, 66, "--later-image"),
    (wrong_image, 65, "bands 1, the image that was mapped had 3"), (apart, 65, "share no ground"), (barely, 65, "share 100 x 600 px"),
    (one_crs, 65, "one has a CRS"), (sizes, 65, "no CRS"), (blank, 65, "no pixel has data"), (rust, 65, "rust"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "code", "text"), REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_line(
    fields: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Callable, code: int, text: str
) -> None:
    command = ["change", *map(str, case(fields, tmp_path)), "-o", str(tmp_path / "out")]
    assert left_with(command) == code
    said = capsys.readouterr().err.strip()
    assert text in said
    assert len(said.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*_change*"))


@pytest.mark.parametrize(
    ("other", "names", "days", "says"),
    [
        (rasterio.Affine(0.1, 0, 510_000, 0, -0.1, 5_410_000), "ab", ("2026-05-01", "2026-06-01"), "14,142 m apart"),
        (UTM["transform"], "ac", ("2026-05-01", "2026-06-01"), "classes a, c and a, b"),
        (UTM["transform"], "ab", ("2026-06-02", "2026-06-01"), "is of 2026-06-02, later than"),
        (UTM["transform"] @ rasterio.Affine.translation(20, 0), "ba", ("2026-05-01", "2026-06-01"), None),
        (UTM["transform"], "ab", ("2026-06-01", "2026-06-01"), None),
        (UTM["transform"], "ab", (None, "2026-06-01"), None),
    ],
)  # fmt: skip
def test_a_trend_is_of_one_field_and_goes_forward(
    tmp_path: Path, other: rasterio.Affine, names: str, days: tuple[str | None, str | None], says: str | None
) -> None:
    mask = np.zeros((40, 50), np.uint8)
    maps = [
        finished(tmp_path / str(k), mask, names=tuple(of), transform=where, record={"input": {"acquired": day}})
        for k, (of, where, day) in enumerate(zip((names, "ab"), (other, UTM["transform"]), days, strict=True))
    ]
    if says is None:
        check_trend(*maps)
        return
    with pytest.raises(DataError) as found:
        check_trend(*maps)
    assert says in str(found.value)
    records = [each.folder / "field_run.json" for each in maps]
    with pytest.raises(DataError, match=re.escape(str(found.value))):
        write_report(records[1], previous=records[0])
