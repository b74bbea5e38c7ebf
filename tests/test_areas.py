"""Hectares: the same on every grid, adding up over fields, and with an interval that holds the truth."""

import codecs
import csv
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import finished
from pyproj import Geod, Transformer
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from scipy.ndimage import gaussian_filter

from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.analysis.area_table import area_rows, ground_classes, report_table
from agriseg.analysis.record import LayersRecord
from agriseg.analysis.zonal_stats import zonal_stats
from agriseg.errors import DataError, UsageError
from agriseg.files import csv_text
from agriseg.legend import Legend
from agriseg.maps.reader import ClippedMap
from agriseg.metrics import confusion
from agriseg.raster.georeference import Georeference

LEGEND = Legend.from_names(("soil", "crop", "weed"))
LAEA = "+proj=laea +lat_0=52 +lon_0=9.3 +ellps=WGS84"
SIDE = 400.0  # metres of the synthetic field's box
TRUTH = {"soil": None, "crop": 240.0 * 180.0, "weed": np.pi * 60.0 * 40.0}  # a rectangle, and an ellipse beside it


def field_class(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Class of places in an equal-area plane (m), where areas are known by formula."""
    mask = np.zeros(x.shape, np.uint8)
    mask[(np.abs(x + 40) < 120) & (np.abs(y + 90) < 90)] = 1
    mask[(x / 60) ** 2 + ((y - 80) / 40) ** 2 < 1] = 2
    return mask


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857", "EPSG:4326", "EPSG:3035"])
def test_hectares_of_one_field_on_every_grid(tmp_path: Path, crs: str) -> None:
    bounds = transform_bounds(LAEA, crs, *[-SIDE / 2, -SIDE / 2, SIDE / 2, SIDE / 2], densify_pts=51)
    transform = rasterio.transform.from_bounds(*bounds, 1500, 1400)
    cols, rows = np.meshgrid(np.arange(1500) + 0.5, np.arange(1400) + 0.5)
    x, y = Transformer.from_crs(crs, LAEA, always_xy=True).transform(*(transform @ (cols, rows)))
    source = finished(tmp_path, field_class(x, y), crs=crs, transform=transform)
    (found,) = zonal_stats(source, 3)
    assert found.square_metres is not None
    for k, (name, expected) in enumerate(TRUTH.items()):
        if expected is not None:
            assert found.square_metres[k] == pytest.approx(expected, rel=5e-4), name


def test_pixels_of_an_equal_area_grid_have_their_nominal_area() -> None:
    transform = rasterio.Affine(0.7, 0, 4_200_000, 0, -0.7, 3_100_000)
    areas = Georeference(CRS.from_epsg(3035), transform).pixel_areas(5000, range(0, 100_000, 9_999))
    np.testing.assert_allclose(areas, 0.49, rtol=1e-7)


@pytest.mark.parametrize(
    ("crs", "corner", "pixel"),
    [("EPSG:4326", (9.1, 51.9), 1e-4), ("EPSG:3857", (1e6, 6.8e6), 10.0), ("EPSG:32632", (3e5, 5.7e6), 10.0), ("EPSG:32720", (7e5, 6.2e6), 10.0)],
)  # fmt: skip
def test_areas_of_pixels_against_geodesic_polygons(crs: str, corner: tuple[float, float], pixel: float) -> None:
    """Karney's polygon areas (pyproj), pixel by pixel down a column."""
    transform = rasterio.Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    areas = Georeference(CRS.from_user_input(crs), transform).pixel_areas(101, range(0, 1000, 111))
    geodesy, back = Geod(ellps="WGS84"), Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    for area, row in zip(areas, range(0, 1000, 111), strict=True):
        xs, ys = transform @ (np.array([50, 51, 51, 50]), np.array([row, row, row + 1, row + 1]))
        assert area == pytest.approx(abs(geodesy.polygon_area_perimeter(*back.transform(xs, ys))[0]), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 99), rows=st.sampled_from([1, 7, 64, 1024])
)
def test_parts_add_up_to_the_whole(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int, rows: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
    sure = np.where(mask == 255, 255, rng.integers(84, 251, mask.shape)).astype(np.uint8)
    source = finished(tmp_path_factory.mktemp("parts"), mask, sure)
    (whole,) = zonal_stats(source, 3)
    cut = int(rng.integers(0, width + 1))
    corners = [(0, cut), (cut, width)]
    shapes = [on_ground(shapely.box(left, 0, right, height), source.georeference.transform) for left, right in corners]
    left, right = zonal_stats(source, 3, shapes)
    np.testing.assert_array_equal(left.pixels + right.pixels, whole.pixels)
    for name in ("square_metres", "confidence", "doubtful"):
        np.testing.assert_allclose(getattr(left, name) + getattr(right, name), getattr(whole, name), rtol=1e-12)
    np.testing.assert_array_equal([np.count_nonzero(mask == k) for k in range(3)], whole.pixels)
    np.testing.assert_allclose([sure[mask == k].sum() * 0.004 for k in range(3)], whole.confidence, rtol=1e-12)
    assert left.covered + right.covered == whole.covered == mask.size
    clipped = ClippedMap(source, (shapes[0],))
    strips = np.concatenate([strip.mask for strip in clipped.strips(rows)])
    np.testing.assert_array_equal(strips, np.where(np.arange(width) < cut, mask, 255))
    np.testing.assert_array_equal(clipped.read(height // 2, height).mask, strips[height // 2 :])


def on_ground(shape: shapely.Geometry, transform: rasterio.Affine) -> shapely.Geometry:
    return shapely.transform(shape, lambda xy: np.stack(transform @ (xy[:, 0], xy[:, 1]), axis=1))


def test_a_hole_is_an_obstacle_and_fields_may_overlap(tmp_path: Path) -> None:
    mask = np.random.default_rng(1).integers(0, 3, (60, 80), dtype=np.uint8)
    source = finished(tmp_path, mask)
    ring = shapely.box(5, 5, 55, 45).difference(shapely.box(20, 10, 30, 40))
    shapes = [
        on_ground(each, source.georeference.transform)
        for each in (ring, shapely.box(40, 0, 200, 90), shapely.box(500, 5, 600, 9))
    ]
    ringed, beyond, outside = zonal_stats(source, 3, shapes)
    inside = np.zeros(mask.shape, bool)
    inside[5:45, 5:55] = True
    inside[10:40, 20:30] = False
    np.testing.assert_array_equal(ringed.pixels, np.bincount(mask[inside], minlength=3))
    np.testing.assert_array_equal(beyond.pixels, np.bincount(mask[:, 40:].ravel(), minlength=3))
    assert (ringed.covered, beyond.covered, outside.covered) == (inside.sum(), 60 * 40, 0)


def test_a_map_without_ground_has_shares_and_no_hectares(tmp_path: Path) -> None:
    source = finished(tmp_path, np.array([[0, 1, 1, 2]], np.uint8), crs=None)
    (found,) = zonal_stats(source, 3)
    rows = area_rows("field", found, LEGEND, ground_classes(LEGEND, None), None)
    assert [row.hectares for row in rows] == [None] * 3
    assert [row.share_of_field for row in rows] == [0.25, 0.5, 0.25]
    assert [row.share_of_canopy for row in rows] == [None, pytest.approx(2 / 3), pytest.approx(1 / 3)]


@pytest.mark.parametrize("affected", [[], ["weed"]])
def test_the_table_of_fields_has_the_cover_of_each(affected: list[str]) -> None:
    shares = {"farm": (0.5, 0.3, 0.2), "north": (0.9, 0.1, 0.0), "south": (0.1, 0.5, 0.4)}
    rows = [
        {"field": field, "class": name, "pixels": 1, "hectares": 2 * share, "share_of_field": share}
        for field, those in shares.items()
        for name, share in zip(LEGEND.names, those, strict=True)
    ]
    table = report_table(LayersRecord("", {"affected": affected}, {"areas": rows}, (), ()))
    cells = {row[0]: dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows}
    assert cells.keys() == {"north", "south"}
    for field, row in cells.items():
        assert row["Mapped"] == pytest.approx(2)
        for name, share in zip(LEGEND.names, shares[field], strict=True):
            assert row[name] == 2 * share
            assert row.get(f"{name} (%)") == (None if affected else share)
        assert row.get("Share") == (shares[field][2] if affected else None)


def test_classes_that_are_not_there() -> None:
    with pytest.raises(UsageError, match="--ground grass: no such class; the map has soil, crop, weed"):
        ground_classes(LEGEND, ["grass"])


def test_the_example_of_the_paper() -> None:
    """Olofsson et al. 2014, table 8 and section 5: each reference point a block of its own."""
    counts = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    points = [(truth, mapped) for mapped in range(4) for truth in range(4) for _ in range(counts[mapped, truth])]
    blocks = np.zeros((len(points), 4, 4), np.int64)
    for block, (truth, mapped) in zip(blocks, points, strict=True):
        block[truth, mapped] = 1
    agreement = ErrorMatrix.of(blocks)
    assert agreement is not None
    mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09  # ha
    found = agreement.adjust(mapped, 10_000_000)
    assert found is not None
    np.testing.assert_allclose(found.area, [21_158, 11_686, 285_770, 581_386], rtol=2e-5)
    np.testing.assert_allclose((found.high - found.low) / 2, [6_158, 3_756, 15_510, 16_282], rtol=0.01)
    assert ErrorMatrix.from_dict(agreement.as_dict(), 4).adjust(mapped, 10_000_000).area.tolist() == found.area.tolist()


def world(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and its map, (side, side) each: patches, and errors that lie together as errors do."""
    smooth = [gaussian_filter(rng.normal(size=(side, side)), 3, mode="wrap") for _ in range(4)]
    first, second, where, which = (each / each.std() for each in smooth)
    truth = np.where(first > 1.0, 2, np.where(second > 0.2, 1, 0)).astype(np.uint8)
    wrong = where > np.array([1.6, 1.4, 0.3])[truth]  # the rarest is missed most
    other = np.where(which > 1, (truth + 1) % 3, np.where(truth == 0, 1, 0))
    return truth, np.where(wrong, other, truth).astype(np.uint8)


def squares(truth: np.ndarray, mask: np.ndarray, side: int = 32) -> np.ndarray:
    """Confusion of each square of ground."""
    places = [(row, col) for row in range(0, len(truth), side) for col in range(0, len(truth), side)]
    cut = [np.s_[row : row + side, col : col + side] for row, col in places]
    return np.stack([confusion(truth[part], mask[part], 3) for part in cut])


@pytest.mark.parametrize("side", [96, pytest.param(256, marks=pytest.mark.long)])
def test_the_interval_holds_the_truth_of_500_fields(side: int) -> None:
    """Bar: 92 to 98 %. Fields smaller and larger than what was validated; each with a validation of its own."""
    rng = np.random.default_rng(side)
    held, naive = np.zeros(3), np.zeros(3)
    for _ in range(500):
        agreement = ErrorMatrix.of(squares(*world(rng, 256)))
        truth, mask = world(rng, side)
        mapped = np.bincount(mask.ravel(), minlength=3).astype(float)
        assert agreement is not None
        found = agreement.adjust(mapped, mask.size)
        assert found is not None
        true = np.bincount(truth.ravel(), minlength=3)
        held += (found.low <= true) & (true <= found.high)
        naive += np.abs(mapped - true) <= (found.high - found.low) / 2
    assert held.min() / 500 >= 0.92, held / 500
    assert held.max() / 500 <= 0.98, held / 500
    assert (naive / 500).min() < 0.9, "the map's own areas would have done"


@pytest.mark.parametrize("seed", range(6))
def test_no_validation_is_certain(seed: int) -> None:
    """The fewer blocks and pixels have shown no error, the wider is the interval; one error makes it no narrower."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 5))
    mapped, widths = rng.uniform(0.1, 1, classes), []
    for count in (2, 3, 8, 40):
        blocks = np.zeros((count, classes, classes), np.int64)
        blocks[:, range(classes), range(classes)] = rng.integers(5, 400, (count, classes))
        one_error = blocks.copy()
        one_error[0, 0, 1] = 1
        flawless, erring = (ErrorMatrix.of(each).adjust(mapped, 10**7) for each in (blocks, one_error))
        np.testing.assert_allclose(flawless.area, mapped)
        assert np.all(flawless.low < flawless.high)
        assert np.all(erring.high - erring.low >= 0.99 * (flawless.high - flawless.low))
        widths.append(flawless.high - flawless.low)
    assert np.all(np.diff(widths, axis=0) <= 0)


def test_what_validation_cannot_tell(tmp_path: Path) -> None:
    blocks = np.zeros((5, 3, 3), np.int64)
    blocks[:, 0, 0] = blocks[:, 1, 1] = 10
    agreement = ErrorMatrix.of(blocks)
    assert agreement is not None
    assert agreement.adjust(np.array([1.0, 2.0, 0.5]), 100) is None, "nothing was mapped as the third class"
    flawless = agreement.adjust(np.array([1.0, 2.0, 0.0]), 100)
    assert flawless.area.tolist() == [1.0, 2.0, 0.0]
    assert np.all(flawless.low[:2] < flawless.area[:2]), "no error among fifty pixels is not none ever"
    assert np.all(flawless.area < flawless.high)
    assert ErrorMatrix.of(blocks[:1]) is None
    with pytest.raises(DataError, match="not of 4 classes"):
        ErrorMatrix.from_dict(agreement.as_dict(), 4)
    with pytest.raises(DataError, match="cannot be read"):
        ErrorMatrix.from_dict({"share": []}, 3)


def test_a_name_that_is_a_formula_is_text() -> None:
    assert csv_text(["=a"], [["=1+1"], [None], [-3.5]]) == "\ufeff'=a\r\n'=1+1\r\n\"\"\r\n-3.5\r\n"


def test_a_table_says_that_it_is_utf8() -> None:
    """Excel takes a CSV for the code page of its Windows unless it begins with the mark."""
    data = csv_text(["field"], [["\u5317\u7530"]]).encode()
    assert data.startswith(codecs.BOM_UTF8)
    assert list(csv.DictReader(data.decode("utf-8-sig").splitlines())) == [{"field": "\u5317\u7530"}]
