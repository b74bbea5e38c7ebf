"""Cells, severity, zones and scout points: metres on any grid, nothing lost or counted twice."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from conftest import UTM, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import finished
from pyproj import Geod, Transformer
from rasterio.enums import Resampling
from rasterio.warp import transform_bounds

from agriseg.analysis import severity as severities
from agriseg.analysis.components import Components
from agriseg.analysis.metric_grid import CellGrid, field_heading
from agriseg.analysis.polygonize import polygonize
from agriseg.analysis.record import json_values
from agriseg.analysis.scouting import scout
from agriseg.analysis.severity import Severity, mean_of
from agriseg.analysis.zones import Zones, natural_breaks
from agriseg.errors import AgrisegError, DataError, UsageError
from agriseg.maps.reader import ClippedMap, FinishedMap
from agriseg.raster.cog import Layer, write_cog
from agriseg.vectors.features import moved

WEED = {"weed": 100.0}
LAEA = "+proj=laea +lat_0=52 +lon_0=9.3 +ellps=WGS84"
ROTATED = UTM["transform"] @ rasterio.Affine.rotation(25)
SOUTH_UP = rasterio.Affine(0.1, 0, 500_000, 0, 0.1, 5_400_000)
DEGREES = {"crs": "EPSG:4326", "transform": rasterio.Affine(1.5e-6, 0, 9.3, 0, -0.9e-6, 52)}
GRIDS = [{}, {"transform": ROTATED}, {"transform": SOUTH_UP}, DEGREES]


def noisy(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Class ids of three classes, in smooth patches, with nodata."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice([0, 1, 2, 255], size=(-(-height // 7), -(-width // 7)), p=[0.3, 0.4, 0.2, 0.1])
    return coarse.repeat(7, 0).repeat(7, 1)[:height, :width].astype(np.uint8)


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> FinishedMap:
    """More than 1024 rows and columns, so that strips and blocks have seams; 0.1 m pixels."""
    return finished(tmp_path_factory.mktemp("field"), noisy(1060, 1100))


def squares(grid: CellGrid, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Cells as polygons in the map's CRS."""
    return moved(shapely.box(cols, rows, cols + 1, rows + 1), grid.georeference.transform)


def mask_of(source: FinishedMap) -> np.ndarray:
    return source.read(0, source.height).mask


def pixel_metres(source: FinishedMap) -> np.ndarray:
    """(H, W) square metres."""
    areas = source.areas(range(source.height))
    assert areas is not None
    return np.repeat(areas[:, None], source.width, axis=1)


@settings(max_examples=15, deadline=None)
@given(heading=st.floats(-400, 400), side=st.floats(0.7, 30))
def test_each_valid_pixel_is_in_one_cell(field: FinishedMap, heading: float, side: float) -> None:
    grid = CellGrid.over(field, side, heading)
    found = Severity.of(field, grid, WEED, [0]).square_metres
    assert found.shape == grid.shape
    assert found.sum() == pytest.approx(pixel_metres(field)[mask_of(field) != 255].sum(), rel=1e-9)


@pytest.mark.parametrize("where", GRIDS)
@pytest.mark.parametrize("heading", [0, 33.3, 90, 200])
def test_a_cell_is_a_square_on_the_ground_with_its_pixels_inside(tmp_path: Path, where: dict, heading: float) -> None:
    source = finished(tmp_path, noisy(60, 90), **where)
    grid = CellGrid.over(source, 1.7, heading)
    row, col = np.broadcast_arrays(*grid.cell_of(range(60), range(90)))
    cells = squares(grid, row.ravel(), col.ravel())
    cols, rows = np.meshgrid(np.arange(90) + 0.5, np.arange(60) + 0.5)
    centres = shapely.points(*(source.georeference.transform @ (cols.ravel(), rows.ravel())))
    assert shapely.dwithin(cells, centres, 1e-9).all()
    to_lonlat = Transformer.from_crs(source.georeference.crs, "OGC:CRS84", always_xy=True)
    lon, lat = to_lonlat.transform(*shapely.get_coordinates(cells[0]).T)
    _, _, sides = Geod(ellps="WGS84").inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
    np.testing.assert_allclose(sides, 1.7, rtol=5e-4)
    diagonal = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[2], lat[2])[2]
    assert diagonal == pytest.approx(1.7 * 2**0.5, rel=1e-3)


@pytest.mark.parametrize("where", [{}, {"transform": SOUTH_UP}])
def test_heading_is_clockwise_from_north(tmp_path: Path, where: dict) -> None:
    grid = CellGrid.over(finished(tmp_path, noisy(60, 90), **where), 2, 30)
    here, next_row = (grid.georeference.transform @ cell for cell in ((0, 0), (0, 1)))
    along = np.subtract(here, next_row) / 2
    assert abs(along @ [np.sin(np.pi / 6), np.cos(np.pi / 6)]) == pytest.approx(1, abs=1e-6)


def test_heading_90_is_the_map_turned_by_a_quarter(tmp_path: Path) -> None:
    mask = noisy(140, 95, seed=3)
    upright = finished(tmp_path / "upright", np.rot90(mask).copy())
    lying = finished(tmp_path / "lying", mask)
    expected = Severity.of(upright, CellGrid.over(upright, 1.3), WEED, [0])
    found = Severity.of(lying, CellGrid.over(lying, 1.3, 90), WEED, [0])
    np.testing.assert_allclose(found.percent, expected.percent, rtol=1e-5)


def test_severity_of_each_cell_is_what_its_pixels_say(field: FinishedMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(severities, "LEAST_SHARE", 0.3)
    grid = CellGrid.over(field, 2.5, 17)
    found = Severity.of(field, grid, {"weed": 100, "crop": 20}, [0])
    mask, areas = mask_of(field), pixel_metres(field)
    row, col = np.broadcast_arrays(*grid.cell_of(range(field.height), range(field.width)))
    assert row.shape == mask.shape
    cell = row * grid.shape[1] + col
    soil, crop, weed = (
        np.bincount(cell[mask == k], areas[mask == k], np.prod(grid.shape)).reshape(grid.shape) for k in range(3)
    )
    valid, affected = soil + crop + weed, 100 * weed + 20 * crop
    np.testing.assert_allclose(found.square_metres, valid, rtol=1e-9)
    with np.errstate(invalid="ignore"):
        expected = np.stack([affected / valid, affected / (crop + weed)])
    expected[:, valid < 0.3 * 2.5**2] = np.nan
    assert 0.1 < np.isnan(expected).mean() < 0.9
    np.testing.assert_allclose(found.percent, expected, rtol=1e-6)


def test_severity_of_the_map_is_the_mean_of_its_cells_by_ground(
    field: FinishedMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(severities, "LEAST_SHARE", 0)
    found = Severity.of(field, CellGrid.over(field, 1.9, 40), WEED, [0])
    known = ~np.isnan(found.percent[0])
    assert np.average(found.percent[0][known], weights=found.square_metres[known]) == pytest.approx(
        found.field, rel=1e-6
    )
    mask = mask_of(field)
    assert found.field == pytest.approx(100 * (mask == 2).sum() / (mask != 255).sum(), rel=1e-5)
    assert found.canopy == pytest.approx(100 * (mask == 2).sum() / np.isin(mask, (1, 2)).sum(), rel=1e-5)


def test_severity_of_one_field_is_the_same_in_any_crs(tmp_path: Path) -> None:
    found = []
    for crs in ("EPSG:32632", "EPSG:3857", "EPSG:4326"):
        bounds = transform_bounds(LAEA, crs, -150, -150, 150, 150, densify_pts=51)
        transform = rasterio.transform.from_bounds(*bounds, 1300, 1250)
        cols, rows = np.meshgrid(np.arange(1300) + 0.5, np.arange(1250) + 0.5)
        x, y = Transformer.from_crs(crs, LAEA, always_xy=True).transform(*(transform @ (cols, rows)))
        mask = np.where(np.hypot(x, y) < 120, 1, 255).astype(np.uint8)
        mask[(np.abs(x) < 80) & (np.abs(y) < 90)] = 0
        mask[np.hypot(x - 60, y) < 40] = 2
        source = finished(tmp_path / crs[5:], mask, crs=crs, transform=transform)
        grid = CellGrid.over(source, 12)
        centre = grid.from_pixels @ (~transform @ Transformer.from_crs(LAEA, crs, always_xy=True).transform(60, 0))
        severity = Severity.of(source, grid, WEED, [0])
        found.append([severity.field, severity.canopy, severity.square_metres.sum() / 1e4])
        assert severity.percent[0, int(centre[1]), int(centre[0])] == 100
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=5e-3)
    assert found[0][2] == pytest.approx(np.pi * 1.2**2, rel=5e-3)


def test_severity_is_published_and_lies_where_it_should(field: FinishedMap, tmp_path: Path) -> None:
    found = Severity.of(field, CellGrid.over(field, 2, 30), WEED, [0])
    layer = Layer("severity", found.grid.georeference, ("field", "canopy"), Resampling.average)
    path, _ = write_cog(found, layer, tmp_path, 1)
    with rasterio.open(path) as dataset:
        cell = tuple(int(part) for part in np.argwhere(found.percent[0] > 50)[0])
        square = squares(found.grid, *np.array(cell)[:, None])[0]
        value = next(dataset.sample([square.centroid.coords[0]]))
    np.testing.assert_array_equal(value, found.percent[:, *cell])


def test_mean_of_a_raster_in_each_cell(field: FinishedMap, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).normal(0.5, 0.2, (1, field.height, field.width)).astype(np.float32)
    numbers[0, 40:90, :400] = np.nan
    path = write_raster(tmp_path / "index.tif", numbers, nodata=np.nan)
    grid = CellGrid.over(field, 2.5, 17)
    mean, metres = mean_of(path, field, grid)
    row, col = np.broadcast_arrays(*grid.cell_of(range(field.height), range(field.width)))
    valid = np.isfinite(numbers[0]) & (mask_of(field) != 255)
    cell = (row * grid.shape[1] + col)[valid]
    count = np.bincount(cell, minlength=mean.size)
    with np.errstate(invalid="ignore"):
        expected = np.bincount(cell, numbers[0][valid], mean.size) / count
    expected[count * 0.01 < 0.1 * 2.5**2] = np.nan
    assert np.isnan(expected).any()
    np.testing.assert_allclose(mean.ravel(), expected, rtol=1e-4)
    assert metres.sum() == pytest.approx(pixel_metres(field)[valid].sum(), rel=1e-9)


def test_a_raster_of_larger_pixels_gives_the_same_mean(field: FinishedMap, tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, field.width // 2, dtype=np.float32)[None, None].repeat(field.height // 2, 1)
    path = write_raster(tmp_path / "index.tif", ramp, transform=UTM["transform"] @ rasterio.Affine.scale(2))
    mean, _ = mean_of(path, field, CellGrid.over(field, 23))
    centres = (np.arange(mean.shape[1]) * 230 + 115) / field.width
    np.testing.assert_allclose(mean[0, :-1], centres[:-1], atol=0.02)


def test_a_raster_of_other_ground_is_refused(field: FinishedMap, tmp_path: Path) -> None:
    numbers = np.zeros((1, field.height, field.width), np.float32)
    aside = UTM["transform"] @ rasterio.Affine.translation(3, 0)
    for name, change in (("moved", {"transform": aside}), ("crs", {"crs": "EPSG:32633"})):
        path = write_raster(tmp_path / f"{name}.tif", numbers, **change)
        with pytest.raises(DataError, match="does not cover the ground"):
            mean_of(path, field, CellGrid.over(field, 5))


@pytest.mark.parametrize("where", [{}, {"transform": SOUTH_UP}, DEGREES])
@pytest.mark.parametrize("heading", [0.0, 30.0, 90.0, 141.0])
def test_heading_of_a_field_is_that_of_its_long_side(tmp_path: Path, where: dict, heading: float) -> None:
    empty = finished(tmp_path / "empty", np.full((1100, 900), 255, np.uint8), **where)
    with pytest.raises(DataError, match="no valid pixel"):
        field_heading(empty)
    grid = CellGrid.over(empty, 10, heading)
    middle = np.array(grid.from_pixels @ (450, 650))
    half = np.array([1, 4])
    strip = moved(
        np.array([shapely.box(*(middle - half), *(middle + half))]), grid.georeference.transform
    )  # 20 m by 80 m
    mask = ClippedMap(finished(tmp_path / "full", np.ones((1100, 900), np.uint8), **where), tuple(strip))
    assert abs((field_heading(mask) - heading + 90) % 180 - 90) < 0.5


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(2, 4))
def test_breaks_are_the_best_there_are(data: st.DataObject, count: int) -> None:
    values = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=1, max_size=9)), float)
    weights = np.array(data.draw(st.lists(st.integers(1, 5), min_size=len(values), max_size=len(values))), float)
    distinct = np.unique(values)
    if len(distinct) < count:
        with pytest.raises(DataError, match=f"{len(distinct)} distinct values"):
            natural_breaks(values, weights, count)
        return

    def squares(breaks: np.ndarray) -> float:
        zone = np.searchsorted(breaks, values)
        means = np.bincount(zone, weights * values, count) / np.bincount(zone, weights, count)
        return float(weights @ (values - means[zone]) ** 2)

    best = min(squares(np.array(each)) for each in itertools.combinations(distinct[:-1], count - 1))
    found = natural_breaks(values, weights, count)
    assert len(found) == count - 1
    assert squares(found) == pytest.approx(best, abs=1e-9)


def test_zones_of_many_values_end_in_the_gaps(field: FinishedMap) -> None:
    grid = CellGrid.over(field, 0.25)
    truth = np.random.default_rng(5).integers(0, 3, grid.shape)
    values = np.array([0, 10, 25])[truth] + np.random.default_rng(6).normal(0, 0.5, grid.shape)
    assert values.size > 50_000
    np.testing.assert_array_equal(Zones.of(grid, values, np.ones(grid.shape), 3).number, truth + 1)


@pytest.mark.parametrize("where", GRIDS)
def test_zones_partition_the_cells(tmp_path: Path, where: dict) -> None:
    source = finished(tmp_path, noisy(300, 400, seed=2), **where)
    grid = CellGrid.over(source, 1.1, 20)
    severity = Severity.of(source, grid, WEED, [0])
    zones = Zones.of(grid, severity.percent[0], severity.square_metres, 3)
    known = ~np.isnan(severity.percent[0])
    np.testing.assert_array_equal(zones.number > 0, known)
    assert sum(zone.cells for zone in zones.table) == known.sum()
    assert sum(zone.hectares for zone in zones.table) == pytest.approx(severity.square_metres[known].sum() / 1e4)
    means = [zone.mean for zone in zones.table]
    assert means == sorted(means)
    for zone in zones.table:
        values = severity.percent[0][zones.number == zone.number]
        assert (zone.low, zone.high) == (values.min(), values.max())
    assert all(one.high < two.low for one, two in itertools.pairwise(zones.table))
    shapes = zones.shapes()
    assert shapely.is_valid(shapes).all()
    cells = squares(grid, *np.nonzero(known))
    assert shapely.area(shapes).sum() == pytest.approx(shapely.area(cells).sum(), rel=1e-9)
    assert shapely.area(shapely.union_all(shapes)) == pytest.approx(shapely.area(cells).sum(), rel=1e-9)
    row, col = (each[::17] for each in np.nonzero(known))
    centres = shapely.centroid(squares(grid, row, col))
    assert shapely.contains(shapes[zones.number[row, col] - 1], centres).all()


def test_rounding_makes_no_zones(field: FinishedMap) -> None:
    grid = CellGrid.over(field, 5)
    values = 33.3 + np.random.default_rng(0).normal(0, 1e-7, grid.shape)
    with pytest.raises(DataError, match="1 distinct value"):
        Zones.of(grid, values, np.ones(grid.shape), 2)


def patchy() -> tuple[np.ndarray, np.ndarray]:
    """Squares of weed of growing size, and their confidence."""
    mask, confidence = np.ones((600, 800), np.uint8), np.full((600, 800), 200, np.uint8)
    for index, (row, col) in enumerate(itertools.product(range(20, 580, 90), range(20, 780, 90))):
        part = np.s_[row : row + 3 + index // 3, col : col + 3 + index // 3]
        mask[part], confidence[part] = 2, 100 + 2 * index
    mask[300:303, 5:800] = 2  # long: its widest place is not its centroid's
    mask[300:330, 700:730] = 2
    return mask, confidence


@pytest.mark.parametrize("where", GRIDS)
def test_scout_points_lie_in_their_patches_and_apart(tmp_path: Path, where: dict) -> None:
    source = finished(tmp_path, *patchy(), **where)
    patches = Components.of(source)
    polygons = polygonize(source, patches)
    points, places = scout(source, polygons, [2], count=6, distance=12)
    assert [point.number for point in points] == [1, 2, 3, 4, 5, 6]
    score = [point.area_m2 * point.confidence for point in points]
    assert score == sorted(score, reverse=True)
    weeds = np.flatnonzero(polygons.columns["class_id"] == 2)
    best = max(polygons.columns["area_m2"][k] * polygons.columns["mean_confidence"][k] for k in weeds)
    assert score[0] == pytest.approx(best)
    for point, place in zip(points, places, strict=True):
        (home,) = [k for k in weeds if polygons.shapes[k].contains(shapely.Point(place))]
        assert point.area_m2 == polygons.columns["area_m2"][home]
        row, col = rasterio.transform.rowcol(source.georeference.transform, *place)
        assert mask_of(source)[row, col] == 2
    to_lonlat = Transformer.from_crs(source.georeference.crs, "OGC:CRS84", always_xy=True)
    expected = to_lonlat.transform(*places.T)
    np.testing.assert_allclose([[p.lon for p in points], [p.lat for p in points]], expected, atol=6e-8)
    for one, two in itertools.combinations(points, 2):
        assert Geod(ellps="WGS84").inv(one.lon, one.lat, two.lon, two.lat)[2] > 12 * 0.998


def test_a_scout_point_is_at_the_widest_place(tmp_path: Path) -> None:
    mask = np.ones((200, 400), np.uint8)
    mask[50:53, 20:300] = 2
    mask[50:90, 300:340] = 2
    source = finished(tmp_path, mask)
    (point,), (place,) = scout(source, polygonize(source, Components.of(source)), [2])
    col, row = ~source.georeference.transform @ place
    assert (col, row) == pytest.approx((320, 70), abs=0.5)
    assert json_values(point) == {
        "number": 1, "class": "weed", "area_m2": point.area_m2, "confidence": point.confidence, "lon": point.lon,
        "lat": point.lat, "name": "1 weed", "desc": "24 m2 of weed, 80 % sure",
    }  # fmt: skip


def test_a_patch_is_passed_over_if_its_widest_place_is_near(tmp_path: Path) -> None:
    mask = np.ones((200, 400), np.uint8)
    mask[50:90, 300:340] = 2
    mask[95:125, 300:340] = 2  # 37.5 px further down
    mask[95:98, 20:300] = 2  # and it reaches far
    source = finished(tmp_path, mask)
    polygons = polygonize(source, Components.of(source))
    found = [len(scout(source, polygons, [2], distance=metres)[0]) for metres in (3, 4.5)]
    assert found == [2, 1]


def test_fewer_patches_than_asked_for_are_fewer_points(tmp_path: Path) -> None:
    source = finished(tmp_path, *patchy())
    polygons = polygonize(source, Components.of(source))
    assert len(scout(source, polygons, [2], count=500, distance=0)[0]) == (polygons.columns["class_id"] == 2).sum()
    assert len(scout(source, polygons, [2], distance=1000)[0]) == 1
    points, places = scout(source, polygons, [0])
    assert (points, places.shape) == ((), (0, 2))


REFUSALS = [
    (UsageError, "use 0.2 m", lambda m: CellGrid.over(m, 0.19)),
    (UsageError, "at least 2 pixels", lambda m: CellGrid.over(m, float("nan"))),
    (UsageError, "heading nan", lambda m: CellGrid.over(m, 1, float("nan"))),
    (UsageError, "no such class", lambda m: Severity.of(m, CellGrid.over(m, 2), {"rust": 100}, [0])),
    (UsageError, "0 to 100", lambda m: Severity.of(m, CellGrid.over(m, 2), {"weed": 101}, [0])),
    (UsageError, "is ground", lambda m: Severity.of(m, CellGrid.over(m, 2), {"soil": 5}, [0])),
    (UsageError, "no class is affected", lambda m: Severity.of(m, CellGrid.over(m, 2), {}, [0])),
    (UsageError, "2 to 9", lambda m: Zones.of(CellGrid.over(m, 2), np.zeros(1), np.zeros(1), 1)),
    (UsageError, "scout points", lambda m: scout(m, polygonize(m, Components.of(m)), [2], 0)),
    (UsageError, "scout points", lambda m: scout(m, polygonize(m, Components.of(m)), [2], 1, -1)),
]


@pytest.mark.parametrize(("kind", "says", "call"), REFUSALS)
def test_refusals(tmp_path: Path, kind: type[AgrisegError], says: str, call) -> None:
    with pytest.raises(kind, match=says) as caught:
        call(finished(tmp_path, noisy(40, 50)))
    assert len(str(caught.value)) <= 300


def test_maps_that_cannot_have_cells(tmp_path: Path) -> None:
    for name, says, where in (
        ("no crs", "ground is unknown", {"crs": None}),
        ("oblique", "oblique", {**DEGREES, "transform": DEGREES["transform"] @ rasterio.Affine.rotation(30)}),
    ):
        with pytest.raises(DataError, match=says):
            CellGrid.over(finished(tmp_path / name, noisy(40, 50), **where), 2)
    large = finished(tmp_path / "large", np.full((4100, 4100), 255, np.uint8))
    with pytest.raises(UsageError, match=r"4,202,500, expected at most 4,000,000; use larger ones, such as 0\.207 m"):
        CellGrid.over(large, 0.2)
    local = 'ENGCRS["yard",EDATUM["yard"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    source = finished(tmp_path / "local", *patchy(), crs=local)
    with pytest.raises(DataError, match="not tied to the Earth"):
        scout(source, polygonize(source, Components.of(source)), [2])


def test_a_map_without_data_has_no_severity(tmp_path: Path) -> None:
    source = finished(tmp_path, np.full((40, 50), 255, np.uint8))
    found = Severity.of(source, CellGrid.over(source, 2), WEED, [0])
    assert np.isnan([found.field, found.canopy, *found.percent.ravel()]).all()
    with pytest.raises(DataError, match="0 distinct values"):
        Zones.of(found.grid, found.percent[0], found.square_metres)
