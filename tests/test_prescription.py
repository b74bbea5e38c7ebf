"""Prescriptions: each cell against a second implementation, by exact transforms of each pixel, shapely and pyproj."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from conftest import write_raster
from hypothesis import example, given, settings
from hypothesis import strategies as st
from maps import finished
from pyproj import Geod, Transformer
from rasterio.crs import CRS

from agriseg import SegmentationModel, segment
from agriseg.analysis.metric_grid import CellGrid
from agriseg.errors import AgrisegError, DataError, UsageError
from agriseg.machine_files.prescription import Prescription
from agriseg.maps.reader import FinishedMap, MapStrip
from agriseg.options.prescription import RxOptions
from agriseg.prescription.cells import Cells
from agriseg.prescription.plan import Plan, prescribe
from agriseg.prescription.spots import SpotRule, probability_layer, spot_strips
from agriseg.prescription.treated import treated_cells, valid_ground
from agriseg.raster.georeference import Georeference
from agriseg.vectors.features import moved

GEOD = Geod(ellps="WGS84")
UNSURE = ("soil", "crop", "weed", "unsure")
ANY: dict[str, Any] = {
    "spot": "weed", "rate": 200, "unit": "l/ha", "cell": "0.5m", "min_area": "0cm2", "doubtful": "treat",
}  # fmt: skip


def options(**values: Any) -> RxOptions:
    """Options of a spot treatment; None takes one of them out."""
    return RxOptions.of(**{name: value for name, value in {**ANY, **values}.items() if value is not None})


def utm(lon: float, lat: float) -> str:
    return f"EPSG:{32600 + (100 if lat < 0 else 0) + int((lon + 180) // 6) + 1}"


@dataclass(frozen=True)
class Place:
    """Where a map lies: name of its CRS, its corner, metres of a pixel, degrees that it is turned."""

    crs: str
    lon: float
    lat: float
    metres: float = 0.1
    turn: float = 0.0
    south_up: bool = False
    stretch: float = 1.0

    @property
    def grid(self) -> dict[str, Any]:
        """CRS and transform of a raster."""
        crs = utm(self.lon, self.lat) if self.crs == "utm" else self.crs
        x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(self.lon, self.lat)
        right, down = self.metres, self.metres * self.stretch
        if crs == "EPSG:4326":
            right, down = right / 111_320 / np.cos(np.radians(self.lat)), down / 111_132
        elif crs == "EPSG:3857":
            right, down = (each / np.cos(np.radians(self.lat)) for each in (right, down))
        down = down if self.south_up else -down
        to = (
            rasterio.Affine.translation(x, y) @ rasterio.Affine.rotation(self.turn) @ rasterio.Affine.scale(right, down)
        )
        return {"crs": crs, "transform": to}


PLACES = [
    Place("utm", 9.3, 48.7), Place("utm", 9.3, 48.7, turn=25), Place("utm", 11.9, -33.2), Place("utm", 25.1, 60.2),
    Place("utm", 9.3, 48.7, south_up=True), Place("utm", 9.3, 48.7, stretch=1.7), Place("EPSG:4326", 9.3, 48.7),
    Place("EPSG:4326", -58.4, -33.2), Place("EPSG:4326", 25.1, 60.2), Place("EPSG:3857", 9.3, 48.7),
    Place("EPSG:3857", 148.6, -60.0), Place("EPSG:3857", 25.1, 60.2, stretch=0.6),
]  # fmt: skip


def noisy(height: int, width: int, seed: int, *, weed: float = 0.2, patch: int = 4) -> np.ndarray:
    """Soil, crop, weed and nodata in patches."""
    rng, rest = np.random.default_rng(seed), (0.9 - weed) / 2
    coarse = rng.choice([0, 1, 2, 255], (-(-height // patch), -(-width // patch)), p=[rest, rest, weed, 0.1])
    return coarse.repeat(patch, 0).repeat(patch, 1)[:height, :width].astype(np.uint8)


def sureness(mask: np.ndarray, seed: int) -> np.ndarray:
    """Counts of confidence, each pixel its own."""
    random = np.random.default_rng(seed + 1).integers(80, 251, mask.shape)
    return np.where(mask == 255, 255, random).astype(np.uint8)


def read_strip(source: FinishedMap) -> MapStrip:
    return source.read(0, source.height)


def write_shapes(path: Path, shapes: dict[str, shapely.Geometry]) -> Path:
    """GeoJSON of named shapes in longitude and latitude."""
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": shapely.geometry.mapping(shape)}
        for name, shape in shapes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def lonlat_shape(source: FinishedMap, shape: shapely.Geometry) -> shapely.Geometry:
    """A shape in columns and rows of a map as longitude and latitude."""
    to = Transformer.from_crs(source.georeference.crs, "OGC:CRS84", always_xy=True)
    plane = moved(shape, source.georeference.transform)
    return shapely.transform(plane, lambda xy: np.stack(to.transform(xy[:, 0], xy[:, 1]), axis=1))


# --- a second implementation -----------------------------------------------------------------------------------------


EDGE = 1e-3
"""Of a cell's side: a pixel so near to an edge may count in either cell."""


@dataclass
class Second:
    """Cells as polygons in metres, and pixels as points in them, by pyproj and shapely alone.

    Whatever lies within a thousandth of its limit, or a micrometre, may be decided either way: `sure` and `possible` are both.
    """

    source: FinishedMap
    cells: Cells
    squares: np.ndarray = field(init=False)
    metres: Transformer = field(init=False)

    def __post_init__(self) -> None:
        rows, cols = np.mgrid[: self.cells.shape[0], : self.cells.shape[1]]
        self.squares = moved(shapely.box(cols, rows, cols + 1, rows + 1), self.cells.georeference.transform)
        middle = Transformer.from_crs(self.source.georeference.crs, "OGC:CRS84", always_xy=True).transform(
            *(self.source.georeference.transform @ (self.source.width / 2, self.source.height / 2))
        )
        self.lonlat = Transformer.from_crs(self.cells.georeference.crs, "OGC:CRS84", always_xy=True)
        self.plane = Transformer.from_crs(
            "OGC:CRS84", f"+proj=aeqd +lon_0={middle[0]} +lat_0={middle[1]} +datum=WGS84", always_xy=True
        )

    def in_metres(self, shapes: Any, *, of_cells: bool) -> Any:
        """Shapes in the cells' CRS, or in longitude and latitude, in metres around the middle."""

        def to(xy: np.ndarray) -> np.ndarray:
            x, y = self.lonlat.transform(xy[:, 0], xy[:, 1]) if of_cells else xy.T
            return np.stack(self.plane.transform(x, y), axis=1)

        return shapely.transform(shapes, to)

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of cells at each pixel centre."""
        rows, cols = np.mgrid[: self.source.height, : self.source.width]
        x, y = self.source.georeference.transform @ (cols + 0.5, rows + 0.5)
        to = Transformer.from_crs(self.source.georeference.crs, self.cells.georeference.crs, always_xy=True)
        x, y = to.transform(x, y)
        col, row = ~self.cells.georeference.transform @ (x, y)
        return row, col

    def pixel_area(self) -> float:
        """Square metres of a pixel around the middle, by pyproj."""
        left, top = self.source.width / 2, self.source.height / 2
        pixels = lonlat_shape(self.source, shapely.box(left - 20, top - 20, left + 20, top + 20))
        return abs(GEOD.geometry_area_perimeter(pixels)[0]) / 1600

    def count(self, some: np.ndarray, away: float = 0.0) -> np.ndarray:
        """Pixels in each cell; with `away`, only those so far from its edges, or for a negative one also those beside."""
        row, col = (part[some] for part in self.places())
        counts = np.zeros(self.cells.shape, int)
        steps = sorted({-away, away})
        across = self.cells.shape[1]
        numbers = np.stack(
            [np.floor(row + y).astype(int) * across + np.floor(col + x).astype(int) for y in steps for x in steps]
        )
        numbers = np.sort(numbers, 0)
        if away > 0:
            numbers = numbers[:1, (numbers == numbers[0]).all(0)]
        first = np.ones(numbers.shape, bool)
        first[1:] = numbers[1:] != numbers[:-1]
        inside = first & (numbers >= 0) & (numbers < counts.size)
        np.add.at(counts.ravel(), numbers[inside], 1)
        return counts

    def treated(self, spots: np.ndarray, min_area: float, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """Cells that are treated for spots: surely and possibly."""
        row, col = (part[spots] for part in self.places())
        cell = np.floor(row).astype(int), np.floor(col).astype(int)
        clear = np.minimum(*(np.minimum(part % 1, -part % 1) for part in (row, col))) > EDGE
        tree = shapely.STRtree(self.in_metres(self.squares, of_cells=True).ravel())
        found = []
        for away, distance in ((EDGE, margin * 0.999 - 1e-6), (-EDGE, margin * 1.001 + 1e-6)):
            counts = self.count(spots, away)
            kept = (counts > 0) & (counts * self.pixel_area() >= min_area)
            near = np.zeros(self.cells.shape, bool)
            if margin and distance >= 0:
                some = kept[cell] & clear if away > 0 else kept[cell] | ~clear
                x, y = self.cells.georeference.transform @ (col[some], row[some])
                points = self.in_metres(shapely.points(x, y), of_cells=True)
                near.ravel()[np.unique(tree.query(points, "dwithin", distance)[1])] = True
            found.append(near | kept)
        return found[0], found[1]

    def inside(self, outline: shapely.Geometry) -> tuple[np.ndarray, np.ndarray]:
        """Cells inside an outline in longitude and latitude: surely and possibly."""
        squares, outline = self.in_metres(self.squares, of_cells=True), self.in_metres(outline, of_cells=False)
        shapely.prepare(outline)
        millimetre = self.cells.side / 1000
        return (
            shapely.covers(outline, shapely.buffer(squares, millimetre, join_style="mitre")),
            shapely.covers(outline, shapely.buffer(squares, -millimetre, join_style="mitre")),
        )

    def clear(self, water: shapely.Geometry, buffer: float) -> tuple[np.ndarray, np.ndarray]:
        """Cells farther than a buffer from a shape in longitude and latitude: surely and possibly."""
        squares, water = self.in_metres(self.squares, of_cells=True), self.in_metres(water, of_cells=False)
        shapely.prepare(water)
        return (
            ~shapely.dwithin(water, squares, buffer * 1.001 + 1e-4),
            ~shapely.dwithin(water, squares, max(buffer * 0.999 - 1e-4, 0)),
        )


def spots_of(source: FinishedMap, threshold: float, *, treat: bool, ids: tuple[int, ...] = (2,)) -> np.ndarray:
    """Spots by class and confidence, pixel by pixel in exact numbers."""
    strip = read_strip(source)
    sure = strip.confidence.astype(int) * 4 >= round(threshold * 1000)
    sure &= strip.mask != (source.legend.unsure if source.legend.has_unsure else 256)
    spot = np.isin(strip.mask, ids)
    return (strip.mask != 255) & (np.where(sure, spot, treat))


# --- cells ------------------------------------------------------------------------------------------------------------


def places_by_blocks(cells: Cells, height: int, width: int) -> np.ndarray:
    """(2, H, W) row and column of cells of all pixels, as the product has them."""
    places = np.full((2, height, width), np.nan)
    for start in range(0, height, 512):
        rows = range(start, min(start + 512, height))
        for down, right, _, y, x in cells.blocks(rows, width):
            places[:, start + down.start : start + down.stop, right] = y, x
    return places


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("metres", [0.02, 1.0])
@pytest.mark.parametrize("lonlat", [False, True])
def test_each_pixel_is_where_an_exact_transform_says(tmp_path: Path, place: Place, metres: float, lonlat: bool) -> None:
    source = finished(tmp_path, np.zeros((700, 530), np.uint8), **replace(place, metres=metres).grid)
    side = 10 * metres
    cells = Cells.along_lonlat(source, side) if lonlat else Cells.turned(source, side, 31.0)
    off = np.abs(places_by_blocks(cells, 700, 530) - Second(source, cells).places())
    assert off.max() * 10 < 0.003, "pixels, of which ten are a cell"


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_cells_along_lonlat_measure_their_side_both_ways(tmp_path: Path, place: Place) -> None:
    source = finished(tmp_path, np.zeros((100, 90), np.uint8), **place.grid)
    cells = Cells.along_lonlat(source, 0.75)
    to = cells.georeference.transform
    assert (to.b, to.d) == (0, 0)
    assert to.a > 0 > to.e
    row, col = (size // 2 for size in cells.shape)
    corners = [to @ (col + right, row + down) for right, down in ((0, 0), (1, 0), (0, 1))]
    for corner in corners[1:]:
        assert GEOD.inv(*corners[0], *corner)[2] == pytest.approx(0.75, rel=1e-5)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_line_from_a_to_b_lies_between_two_columns(tmp_path: Path, place: Place) -> None:
    source = finished(tmp_path, np.zeros((100, 90), np.uint8), **place.grid)
    for line in ([(10, 80), (70, 15)], [(-200, 40), (-190, -300)]):
        ends = shapely.get_coordinates(lonlat_shape(source, shapely.LineString(line)))
        plan = prescribe(source, options(ab=",".join(map(str, ends.ravel())), spot="soil"), lonlat=False)
        to = Transformer.from_crs("OGC:CRS84", source.georeference.crs, always_xy=True)
        x, y = to.transform(*ends.T)
        cols, rows = ~plan.cells.georeference.transform @ (np.array(x), np.array(y))
        assert cols == pytest.approx(round(cols[0]), abs=1e-6)
        metres = GEOD.inv(*ends.ravel())[2]
        assert rows[0] - rows[1] == pytest.approx(metres / 0.5, rel=2e-3), "rows run against the line"
        assert np.array(places_by_blocks(plan.cells, 100, 90)).min() >= 0


def test_a_line_in_a_file_is_that_of_its_ends(tmp_path: Path) -> None:
    source = finished(tmp_path, np.zeros((100, 90), np.uint8))
    ends = lonlat_shape(source, shapely.LineString([(10, 80), (30, 50), (70, 15)]))
    path = write_shapes(tmp_path / "ab.geojson", {"ab": ends})
    straight = ",".join(map(str, shapely.get_coordinates(ends)[[0, 2]].ravel()))
    one, other = (prescribe(source, options(ab=ab, spot="soil"), lonlat=False) for ab in (str(path), straight))
    assert np.allclose(one.cells.nodes, other.cells.nodes)
    two = write_shapes(tmp_path / "two.geojson", {"1": ends, "2": ends})
    with pytest.raises(DataError, match="one line"):
        prescribe(source, options(ab=str(two), spot="soil"), lonlat=False)


@given(heading=st.floats(-400, 400), col=st.floats(-500, 500), row=st.floats(-500, 500), side=st.floats(0.25, 9))
@settings(max_examples=60, deadline=None)
def test_a_grid_through_a_point_has_a_column_there(
    tmp_path_factory: pytest.TempPathFactory, heading: float, col: float, row: float, side: float
) -> None:
    source = finished(tmp_path_factory.mktemp("through"), np.zeros((60, 90), np.uint8))
    grid = CellGrid.over(source, side, heading, (col, row))
    at = (grid.from_pixels @ (col, row))[0]
    assert at == pytest.approx(round(at), abs=1e-6)
    plain = CellGrid.over(source, side, heading)
    assert 0 <= grid.shape[1] - plain.shape[1] <= 1
    rows, cols = grid.cell_of(range(60), range(90))
    assert cols.min() >= 0
    assert cols.max() < grid.shape[1]
    assert rows.min() >= 0
    assert rows.max() < grid.shape[0]


@pytest.mark.parametrize("turn", [0, 10, 77, 135])
def test_the_heading_is_that_of_the_longest_side_of_the_field(tmp_path: Path, turn: float) -> None:
    source = finished(tmp_path, np.zeros((300, 300), np.uint8))
    strip = shapely.affinity.rotate(shapely.box(100, 140, 200, 160), -turn, origin=(150, 150))
    fields = write_shapes(tmp_path / "f.geojson", {"f": lonlat_shape(source, strip)})
    plan = prescribe(source, options(fields=fields, spot="soil", cell="0.4m"), lonlat=False)
    along = np.degrees(np.arctan2(-plan.cells.georeference.transform.d, plan.cells.georeference.transform.a)) % 180
    assert min(abs(along + 90 + turn) % 90, 90 - abs(along + 90 + turn) % 90) < 0.05
    assert plan.prescription.rates.shape[0] in (24, 25), "10 m long"
    assert plan.prescription.rates.shape[1] in (4, 5), "2 m wide"


def test_cells_below_two_pixels_are_refused(tmp_path: Path) -> None:
    source = finished(tmp_path, np.zeros((100, 90), np.uint8))
    for lonlat in (False, True):
        with pytest.raises(UsageError, match="at least 2 pixels"):
            prescribe(source, options(cell="0.15m", spot="soil"), lonlat=lonlat)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_area_of_each_cell_is_that_of_its_sides(place: Place) -> None:
    grid = replace(place, metres=30).grid
    where = Georeference(CRS.from_user_input(grid["crs"]), grid["transform"])
    found = where.each_pixel_area(203, 170)
    assert found is not None
    rows, cols = np.mgrid[:203, :170]
    sides = where.pixel_sides(cols.ravel().astype(float), rows.ravel().astype(float))
    assert sides is not None
    assert found.ravel() == pytest.approx(np.abs(np.linalg.det(sides)), rel=1e-7)
    for shape in ((1, 1), (1, 5), (5, 1), (2, 2)):
        small = where.each_pixel_area(*shape)
        assert small is not None
        assert small == pytest.approx(found[: shape[0], : shape[1]], rel=1e-7)


# --- spots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "confidence", "expected"),
    [
        (2, 175, "certain"), (2, 174, "doubtful"), (0, 175, "none"), (1, 174, "doubtful"), (3, 250, "doubtful"),
        (3, 20, "doubtful"), (255, 255, "none"), (2, 250, "certain"), (0, 0, "doubtful"),
    ],
)  # fmt: skip
def test_a_pixel_is_a_spot_by_class_and_confidence(tmp_path: Path, mask: int, confidence: int, expected: str) -> None:
    pixels = np.full((3, 4), mask, np.uint8), np.full((3, 4), confidence, np.uint8)
    source = finished(tmp_path, *pixels, names=UNSURE, record={"options": {"min_confidence": 0.7}})
    (strip,) = spot_strips(source, SpotRule(frozenset([2]), 0.7))
    assert (strip.certain.all(), strip.certain.any()) == (expected == "certain",) * 2
    assert (strip.doubtful.all(), strip.doubtful.any()) == (expected == "doubtful",) * 2
    assert (strip.valid == (mask != 255)).all()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((100, 75, 50, 25), "none"), ((74, 0, 175, 1), "certain"), ((0, 75, 100, 75), "certain"),
        ((0, 76, 100, 74), "doubtful"), ((100, 74, 60, 16), "doubtful"), ((75, 0, 100, 75), "certain"),
    ],
)  # fmt: skip
def test_a_pixel_is_a_spot_by_the_sum_of_probabilities(tmp_path: Path, counts: tuple[int, ...], expected: str) -> None:
    source = finished(tmp_path, np.full((3, 4), 0, np.uint8), names=("soil", "crop", "rumex", "weed"))
    path = write_raster(tmp_path / "p.tif", np.full((4, 3, 4), np.array(counts)[:, None, None], np.uint8))
    (strip,) = spot_strips(source, SpotRule(frozenset([2, 3]), 0.7), path)
    assert (strip.certain.all(), strip.certain.any()) == (expected == "certain",) * 2
    assert (strip.doubtful.all(), strip.doubtful.any()) == (expected == "doubtful",) * 2


@pytest.mark.parametrize("counts", [(0, 0, 255), (150, 0, 100), (255, 255, 255), (0, 0, 0)])
def test_nodata_is_no_spot_whatever_its_probabilities(tmp_path: Path, counts: tuple[int, ...]) -> None:
    source = finished(tmp_path, np.full((3, 4), 255, np.uint8))
    path = write_raster(tmp_path / "p.tif", np.full((3, 3, 4), np.array(counts)[:, None, None], np.uint8))
    (strip,) = spot_strips(source, SpotRule(frozenset([2])), path)
    assert not (strip.valid | strip.certain | strip.doubtful).any()


def test_probabilities_of_another_map_are_refused(tmp_path: Path) -> None:
    source = finished(tmp_path, np.zeros((3, 4), np.uint8))
    for shape in ((2, 3, 4), (3, 3, 5)):
        path = write_raster(tmp_path / "p.tif", np.zeros(shape, np.uint8))
        with pytest.raises(DataError, match="bands of"):
            list(spot_strips(source, SpotRule(frozenset([2])), path))


def test_the_probabilities_of_a_run_decide(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "f.tif", np.random.default_rng(0).integers(1, 256, (3, 90, 120), np.uint8))
    soft = replace(oracle, temperature=40.0)
    segment(image, soft, tmp_path / "out", probabilities=True)
    source = FinishedMap.of(tmp_path / "out" / "f_run.json")
    path = probability_layer(source)
    assert path is not None
    with rasterio.open(path) as dataset:
        counts = dataset.read().astype(int)
    spot, threshold = (1, 2), 0.6
    total = counts[list(spot)].sum(0)
    (strip,) = spot_strips(source, SpotRule(frozenset(spot), threshold), path)
    assert (strip.certain == (total >= 150)).all()
    assert (strip.doubtful == ((total < 150) & (total > 100))).all()
    assert 0 < strip.certain.mean() < 1
    assert strip.doubtful.any()
    names = ",".join(source.legend.names[k] for k in spot)
    plan = prescribe(source, options(spot=names, threshold=threshold), lonlat=False)
    assert plan.by_probabilities
    assert plan.balance.doubtful_hectares == pytest.approx(strip.doubtful.sum() * 1e-6, rel=1e-3)
    path.unlink()
    with pytest.raises(DataError, match="is gone"):
        prescribe(source, options(spot=names), lonlat=False)


# --- treated cells ----------------------------------------------------------------------------------------------------


def between(pixels: int, second: Second) -> float:
    """An area between that of n - 1 and that of n pixels."""
    return 0.0 if not pixels else (pixels - 0.5) * second.pixel_area()


@given(
    place=st.sampled_from(PLACES), seed=st.integers(0, 10**6), side=st.floats(0.35, 1.2), heading=st.floats(0, 180),
    lonlat=st.booleans(), treat=st.booleans(), pixels=st.integers(0, 12), margin=st.floats(0, 1.0),
    weed=st.floats(0.002, 0.2),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
@example(place=PLACES[0], seed=0, side=0.35, heading=0.0, lonlat=False, treat=False, pixels=0, margin=1e-45, weed=0.125)
def test_cells_are_treated_as_by_the_second_implementation(
    tmp_path_factory: pytest.TempPathFactory, place: Place, seed: int, side: float, heading: float, lonlat: bool, treat: bool,
    pixels: int, margin: float, weed: float,
) -> None:  # fmt: skip
    mask = noisy(70, 90, seed, weed=weed, patch=3)
    source = finished(tmp_path_factory.mktemp("second"), mask, sureness(mask, seed), **place.grid)
    side *= max(place.stretch, 1)
    cells = Cells.along_lonlat(source, side) if lonlat else Cells.turned(source, side, heading)
    second = Second(source, cells)
    rule = SpotRule(frozenset([2]), 0.4, treat, between(pixels, second), margin)
    found = treated_cells(source, cells, rule)
    sure, possible = second.treated(spots_of(source, 0.4, treat=treat), rule.min_area, margin)
    assert not (sure & ~found).any(), "a cell that must be treated is"
    assert not (found & ~possible).any(), "and no other is"


def test_strips_and_blocks_leave_no_trace(tmp_path: Path) -> None:
    """1,100 rows are two strips of five blocks."""
    mask = noisy(1100, 300, 3, weed=0.01)
    source = finished(tmp_path, mask, sureness(mask, 3), **Place("utm", 9.3, 48.7, turn=10).grid)
    for lonlat in (False, True):
        cells = Cells.along_lonlat(source, 0.45) if lonlat else Cells.turned(source, 0.45, 20)
        second = Second(source, cells)
        for treat in (False, True):
            rule = SpotRule(frozenset([2]), 0.4, treat, between(3, second), 0.3)
            sure, possible = second.treated(spots_of(source, 0.4, treat=treat), rule.min_area, rule.margin)
            found = treated_cells(source, cells, rule)
            assert ((sure <= found) & (found <= possible)).all()
            assert (sure == possible).mean() > 0.99
        assert valid_ground(source, cells).sum() == pytest.approx((mask != 255).sum() * second.pixel_area(), rel=1e-5)


def cut_at(source: FinishedMap, *rows: int) -> Any:
    """The map, whose strips end at these rows."""

    class Cut:
        width, height, legend, georeference = source.width, source.height, source.legend, source.georeference
        areas = source.areas
        read = source.read

        def strips(self, _: int = 0) -> Iterator[MapStrip]:
            for start, stop in zip((0, *rows), (*rows, source.height), strict=True):
                yield source.read(start, stop)

    return Cut()


def test_strips_of_any_height_give_the_same_cells(tmp_path: Path) -> None:
    mask = noisy(1100, 300, 4, weed=0.02)
    source = finished(tmp_path, mask, sureness(mask, 4))
    cells = Cells.turned(source, 0.45, 20)
    rule = SpotRule(frozenset([2]), 0.4, True, 0.03, 0.3)
    whole = treated_cells(cut_at(source), cells, rule)
    assert 0.1 < whole.mean() < 0.9
    for rows in ((256,), (512, 768), (1,), (100, 101, 600), tuple(range(7, 1100, 61))):
        assert (treated_cells(cut_at(source, *rows), cells, rule) == whole).all()


@pytest.mark.parametrize("margin", [0.0, 0.04, 0.26, 0.31, 0.5, 0.77, 1.4])
def test_the_margin_is_a_disc_around_the_centre_of_a_pixel(tmp_path: Path, margin: float) -> None:
    """Cells of 0.5 m on pixels of 0.1 m; a disc in exact numbers around one pixel."""
    mask = np.zeros((60, 60), np.uint8)
    mask[31, 33] = 2  # 0.15 m below the edge of its cell, 0.35 m right of it
    source = finished(tmp_path, mask)
    cells = Cells.turned(source, 0.5, 0)
    found = treated_cells(source, cells, SpotRule(frozenset([2]), margin=margin))
    rows, cols = np.mgrid[:12, :12]
    down, right = (
        np.maximum(np.maximum(each * 5 - at, at - each * 5 - 5), 0) / 10 for each, at in ((rows, 31.5), (cols, 33.5))
    )
    assert (found == (np.hypot(down, right) <= margin)).all()


def test_a_margin_of_more_than_three_cells_is_refused(tmp_path: Path) -> None:
    source = finished(tmp_path, noisy(60, 60, 0))
    with pytest.raises(UsageError, match="--margin"):
        prescribe(source, options(margin="1.6m"), lonlat=False)


def test_a_cell_needs_the_least_area(tmp_path: Path) -> None:
    """Cells of 25 pixels of 100 cm2, of which the k-th has k spots."""
    mask = np.zeros((25, 25), np.uint8)
    for k in range(25):
        row, col = divmod(k, 5)
        part = np.zeros(25, np.uint8)
        part[:k] = 2
        mask[row * 5 : row * 5 + 5, col * 5 : col * 5 + 5] = part.reshape(5, 5)
    source = finished(tmp_path, mask)
    cells = Cells.turned(source, 0.5, 0)
    pixel = Second(source, cells).pixel_area()
    for n in (1, 2, 7, 24):
        found = treated_cells(source, cells, SpotRule(frozenset([2]), min_area=n * pixel * (1 - 1e-6))).ravel()
        assert (found == (np.arange(25) >= n)).all()
    assert (treated_cells(source, cells, SpotRule(frozenset([2]))).ravel() == (np.arange(25) > 0)).all()


# --- where cells may be treated ---------------------------------------------------------------------------------------


def blob(rng: np.random.Generator, height: int, width: int, radius: float) -> shapely.Polygon:
    """A polygon of 3 to 30 corners, in columns and rows, that may have a hole."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 30)))
    reach = radius * rng.uniform(0.3, 1, len(angles))
    middle = rng.uniform((0, 0), (width, height))
    ring = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
    shape = shapely.Polygon(ring).buffer(0)
    return shape.difference(shapely.Point(middle).buffer(radius * 0.1)) if rng.random() < 0.5 else shape


@dataclass
class RandomField:
    """A map with a boundary, water and zones, all of them random, and its options."""

    source: FinishedMap
    outline: shapely.Geometry | None
    water: shapely.Geometry
    zones: dict[str, shapely.Geometry]
    values: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, seed: int, height: int, width: int, weed: float = 0.2) -> "RandomField":
        rng = np.random.default_rng(seed)
        place = replace(PLACES[rng.integers(len(PLACES))], stretch=1.0)
        mask = noisy(height, width, seed, weed=weed, patch=int(rng.integers(2, 12)))
        source = finished(folder, mask, sureness(mask, seed), **place.grid)
        values: dict[str, Any] = {
            "cell": float(rng.uniform(0.2, 0.9)), "threshold": 0.7, "doubtful": rng.choice(["treat", "skip"]),
            "margin": float(rng.choice([0, 0.05, 0.3, 0.6])), "min_area": float(rng.choice([0, 0.015])),
        }  # fmt: skip
        if rng.random() < 0.7:
            values["heading"] = float(rng.uniform(0, 180))
        outline, zones = None, {}
        if rng.random() < 0.75:
            shape = shapely.union_all([blob(rng, height, width, min(height, width)) for _ in range(3)])
            if shape.intersection(shapely.box(0, 0, width, height)).area > 0.2 * height * width:
                outline = lonlat_shape(source, shape)
                values["fields"] = write_shapes(folder / "fields.geojson", {"all": outline})
        water = shapely.union_all(
            [blob(rng, height, width, 0.2 * min(height, width)) for _ in range(rng.integers(0, 4))]
        )
        if not water.is_empty:
            water = lonlat_shape(source, water)
            values["exclude"] = write_shapes(folder / "water.geojson", {"water": water})
            values["exclude_buffer"] = float(rng.choice([0, 0.35, 2.0]))
        if rng.random() < 0.3:
            zones = {
                "1": shapely.box(-5, -5, width * 0.4, height * 0.8),
                "2": shapely.box(width * 0.4, 0, width * 0.8, 999),
            }
            zones = {name: lonlat_shape(source, shape) for name, shape in zones.items()}
            values |= {"zones": write_shapes(folder / "zones.geojson", zones), "rates": "1=80,2=140", "rate": None}
        return cls(source, outline, water, zones, values)

    @property
    def spots(self) -> np.ndarray:
        return spots_of(self.source, self.values["threshold"], treat=self.values["doubtful"] == "treat")

    def allowed(self, second: Second) -> tuple[np.ndarray, np.ndarray]:
        """Cells that may be treated: surely and possibly."""
        valid = read_strip(self.source).mask != 255
        least, most = second.count(valid, EDGE), second.count(valid, -EDGE)
        if self.outline is None:
            square = shapely.transform(
                second.squares[0, 0], lambda xy: np.stack(second.lonlat.transform(*xy.T), axis=1)
            )
            of_cell = second.pixel_area() / abs(GEOD.geometry_area_perimeter(square)[0])
            inside = least * of_cell > 0.501, most * of_cell > 0.499
        else:
            inside = second.inside(self.outline)
        clear = second.clear(self.water, self.values.get("exclude_buffer", 0))
        return inside[0] & clear[0] & (least > 0), inside[1] & clear[1] & (most > 0)

    def rates(self, second: Second) -> np.ndarray:
        """Rate of each cell by its centre."""
        if not self.zones:
            return np.full(second.cells.shape, 200.0)
        x, y = second.lonlat.transform(*shapely.get_coordinates(shapely.centroid(second.squares.ravel())).T)
        of_1, of_2 = (shapely.contains_xy(zone, x, y).reshape(second.cells.shape) for zone in self.zones.values())
        return np.where(of_1, 80.0, np.where(of_2, 140.0, 0.0))


def whole(plan: Plan) -> np.ndarray:
    """Rates of all cells of a plan: those that were cut off are 0."""
    rates = np.zeros(plan.cells.shape)
    corner = ~plan.cells.georeference.transform @ plan.prescription.georeference.transform
    (col, row), (rows, cols) = corner @ (0, 0), plan.prescription.rates.shape
    rates[round(row) : round(row) + rows, round(col) : round(col) + cols] = plan.prescription.rates
    return rates


@given(seed=st.integers(0, 10**9), lonlat=st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_prescription_is_that_of_the_second_implementation(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lonlat: bool
) -> None:
    made = RandomField.of(tmp_path_factory.mktemp("whole"), seed, 70, 90)
    try:
        plan = prescribe(made.source, options(**made.values), lonlat=lonlat)
    except DataError as error:
        if "lies wholly inside" not in str(error):
            raise
        return
    second = Second(made.source, plan.cells)
    sure, possible = second.treated(made.spots, made.values["min_area"], made.values["margin"])
    allowed, perhaps = made.allowed(second)
    applied, offered = whole(plan), made.rates(second)
    must, may = sure & allowed & (offered > 0), possible & perhaps
    if made.values["min_area"] == 0:
        assert not (must & (applied == 0)).any()
    assert not ((applied > 0) & ~may).any()
    clear = (applied > 0) & (offered > 0)
    assert (applied[clear] == offered[clear]).mean() > 0.99, "but for centres on the line between two zones"
    balance = plan.balance
    assert balance.spot_hectares == pytest.approx(made.spots.sum() * second.pixel_area() / 1e4, rel=1e-4)
    counted = second.count(made.spots) * second.pixel_area() / 1e4
    assert balance.left_out.total == pytest.approx(
        counted[applied == 0].sum(), rel=1e-3, abs=3 * second.pixel_area() / 1e4
    ), "but for pixels on the edge of a cell"
    assert min(vars(balance.left_out).values()) >= 0
    assert 0 <= balance.treated_for_doubt <= balance.treated_hectares * (1 + 1e-9)
    assert made.values["doubtful"] == "treat" or balance.treated_for_doubt == 0
    if made.outline is not None:
        assert balance.field_hectares == pytest.approx(
            abs(GEOD.geometry_area_perimeter(made.outline)[0]) / 1e4, rel=1e-4
        )
        assert balance.unmapped_hectares >= 0


def forbidden(made: RandomField, plan: Plan) -> tuple[int, int]:
    """Cells of a plan that are treated though they must not be, and all of its cells."""
    second, applied = Second(made.source, plan.cells), whole(plan)
    _, perhaps = made.allowed(second)
    nobody = made.rates(second) == 0
    sure, far = second.treated(made.spots, made.values["min_area"], made.values["margin"])
    assert (applied >= 0).all()
    assert ((applied > 0) & sure & perhaps).any(), "some are treated"
    return int(((applied > 0) & (~perhaps | ~far | nobody)).sum()), applied.size


def test_no_cell_is_treated_that_must_not_be(tmp_path: Path, tries: Callable[[int, int], int]) -> None:
    """Cells over nodata, doubtful and excluded pixels and outside; a million of them with --long."""
    least, count, seed, wrong = tries(40_000, 1_000_000), 0, 0, 0
    while count < least:
        seed += 1
        field = RandomField.of(tmp_path / str(seed), seed, 160, 190, weed=0.3)
        field.values |= {"cell": 0.21 + 0.1 * (seed % 2), "min_area": 0.0}
        bad, cells = forbidden(field, prescribe(field.source, options(**field.values), lonlat=bool(seed % 3)))
        wrong, count = wrong + bad, count + cells
    assert seed >= 4
    assert wrong == 0, f"{wrong} of {count} cells"


@pytest.mark.parametrize("place", PLACES[:5], ids=str)
def test_a_cell_flush_with_the_edge_of_the_field_is_inside(tmp_path: Path, place: Place) -> None:
    source = finished(tmp_path, np.full((50, 60), 2, np.uint8), **place.grid)
    fields = write_shapes(tmp_path / "f.geojson", {"f": lonlat_shape(source, shapely.box(10, 5, 40, 45))})
    plan = prescribe(source, options(fields=fields, heading=0), lonlat=False)
    assert plan.prescription.rates.shape == (8, 6)
    assert (plan.prescription.rates == 200).all()
    assert plan.prescription.treated_hectares == pytest.approx(plan.balance.field_hectares, rel=1e-5)


def test_cells_are_judged_in_groups_of_rows_without_a_gap(tmp_path: Path) -> None:
    """64 rows are judged at once."""
    for rows in (63, 64, 65, 129):
        source = finished(tmp_path, np.full((2 * rows, 6), 2, np.uint8))
        fields = write_shapes(tmp_path / "f.geojson", {"f": lonlat_shape(source, shapely.box(-9, -9, 99, 999))})
        plan = prescribe(source, options(fields=fields, heading=0, cell="0.2m"), lonlat=False)
        assert plan.prescription.rates.shape == (rows, 3)
        assert (plan.prescription.rates == 200).all()


def test_ground_without_data_is_no_field(tmp_path: Path) -> None:
    """Cells of 4 pixels with 0 to 4 of them valid: from 2 on they are in the field."""
    mask = np.full((2, 10), 255, np.uint8)
    for cell, corners in enumerate([(), (0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]):
        for corner in corners:
            mask[corner // 2, 2 * cell + corner % 2] = 2
    plan = prescribe(finished(tmp_path, mask), options(cell="0.2m", heading=0), lonlat=False)
    assert whole(plan).tolist() == [[0, 0, 200, 200, 200]]
    assert plan.balance.field_hectares == pytest.approx(10 * 1e-6, rel=1e-2)
    assert plan.prescription.rates.tolist() == [[200, 200, 200]]


def test_the_boundary_is_the_field_or_the_cells_with_data(tmp_path: Path) -> None:
    mask = noisy(80, 90, 5)
    source = finished(tmp_path, mask, **PLACES[1].grid)
    plan = prescribe(source, options(), lonlat=False)
    boundary = plan.prescription.boundary
    assert boundary.is_valid
    assert abs(GEOD.geometry_area_perimeter(boundary)[0]) / 1e4 == pytest.approx(
        plan.cells.areas[plan.ground.inside].sum() / 1e4, rel=1e-3
    )
    shape = lonlat_shape(source, shapely.box(10, 5, 70, 75).difference(shapely.box(30, 30, 40, 40)))
    fields = write_shapes(tmp_path / "f.geojson", {"f": shape})
    plan = prescribe(source, options(fields=fields), lonlat=False)
    assert plan.prescription.boundary.equals(shapely.MultiPolygon([shape]))


def test_spots_that_are_not_treated_are_counted_by_reason(tmp_path: Path) -> None:
    """One weed pixel in each of six cells, each left out for a reason of its own but the last."""
    mask = np.zeros((50, 60), np.uint8)
    at = {"outside": (2, 2), "edge": (22, 12), "excluded": (22, 32), "no_rate": (22, 52), "treated": (32, 22)}
    for row, col in at.values():
        mask[row, col] = 2
    mask[37:40, 20:25] = mask[32, 20:25] = 2
    mask[42, 22] = 2
    source = finished(tmp_path, mask)
    draw: Callable[[str, shapely.Geometry], Path] = lambda name, shape: write_shapes(  # noqa: E731
        tmp_path / f"{name}.geojson", {"1": lonlat_shape(source, shape)}
    )
    plan = prescribe(
        source, options(
            fields=draw("fields", shapely.box(13, 13, 60, 50)), exclude=draw("water", shapely.box(31, 21, 32, 22)),
            zones=draw("zones", shapely.box(0, 0, 50, 50)), rates="1=90", rate=None, min_area=0.025, heading=0,
        ), lonlat=False,
    )  # fmt: skip
    pixel = Second(source, plan.cells).pixel_area() / 1e4
    pixels = {name: value / pixel for name, value in vars(plan.balance.left_out).items()}
    assert pixels == pytest.approx(
        {"outside": 1, "edge": 1, "excluded": 1, "no_rate": 1, "below_min_area": 1}, rel=1e-3
    )
    assert plan.balance.treated_cells == 2
    assert plan.balance.spot_hectares / pixel == pytest.approx(25, rel=1e-3)


def test_a_field_that_is_not_on_the_map_is_refused_or_told(tmp_path: Path) -> None:
    source = finished(tmp_path, np.full((50, 60), 2, np.uint8))
    draw: Callable[[shapely.Geometry], Path] = lambda shape: write_shapes(  # noqa: E731
        tmp_path / "f.geojson", {"1": lonlat_shape(source, shape)}
    )
    with pytest.raises(DataError, match="lies wholly inside"):
        prescribe(source, options(fields=draw(shapely.box(500, 0, 600, 50))), lonlat=False)
    plan = prescribe(source, options(fields=draw(shapely.box(-60, 0, 60, 50))), lonlat=False)
    assert plan.balance.unmapped_hectares == pytest.approx(plan.balance.field_hectares / 2, rel=0.1)
    assert any("not on the map" in warning for warning in plan.warnings)


# --- zones and dose ---------------------------------------------------------------------------------------------------


def halves(folder: Path, source: FinishedMap, *, apart: float = 30) -> Path:
    shapes = {"zone 1": shapely.box(0, 0, 30, 50), "zone 2": shapely.box(apart, 0, 60, 50)}
    return write_shapes(folder / "zones.geojson", {name: lonlat_shape(source, each) for name, each in shapes.items()})


def test_zones_alone_treat_all_of_the_field(tmp_path: Path) -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[:10] = 255
    source = finished(tmp_path, mask)
    (tmp_path / "rates.csv").write_text("zone,rate\nzone 1,150\nzone 2,0\n")
    none: dict[str, Any] = {"spot": None, "rate": None, "min_area": None, "doubtful": None, "heading": 0}
    for rates in ("zone 1=150, zone 2=0", str(tmp_path / "rates.csv"), {"zone 1": 150.0, "zone 2": 0.0}):
        plan = prescribe(source, options(zones=halves(tmp_path, source), rates=rates, **none), lonlat=False)
        assert plan.rule is None
        assert (plan.prescription.rates == np.repeat([[150.0] * 6 + [0.0] * 6], 8, axis=0)).all()


def test_spots_take_the_rate_of_their_zone(tmp_path: Path) -> None:
    mask = np.zeros((50, 60), np.uint8)
    mask[7, 7] = mask[7, 47] = 2
    source = finished(tmp_path, mask)
    values = options(zones=halves(tmp_path, source), rates="zone 1=150,zone 2=80", rate=None, heading=0)
    plan = prescribe(source, values, lonlat=False)
    assert {(int(row), int(col)): plan.prescription.rates[row, col] for row, col in np.argwhere(plan.prescription.rates)} == {
        (1, 1): 150, (1, 9): 80
    }  # fmt: skip


def test_zones_that_overlap_or_have_no_rate_are_refused(tmp_path: Path) -> None:
    source = finished(tmp_path, np.full((50, 60), 2, np.uint8))
    for rates, apart, message in [
        ("zone 1=150,zone 2=80", 20, "overlap"), ("zone 1=150", 30, "none for 'zone 2'"),
        ("zone 1=150,zone 2=80,zone 3=2", 30, "no such zone; did you mean"), ("zone 1=-1,zone 2=80", 30, "0 or more"),
        ("zone 1=nan,zone 2=80", 30, "0 or more"),
    ]:  # fmt: skip
        with pytest.raises(AgrisegError, match=message):
            prescribe(
                source, options(zones=halves(tmp_path, source, apart=apart), rates=rates, rate=None), lonlat=False
            )
    same = options(zones=halves(tmp_path, source, apart=20), rates="zone 1=80,zone 2=80", rate=None)
    assert (prescribe(source, same, lonlat=False).prescription.rates == 80).any()
    (tmp_path / "r.csv").write_text("zone,rate\nzone 1,many\n")
    with pytest.raises(DataError, match="line 2"):
        prescribe(source, replace(same, rates=tmp_path / "r.csv"), lonlat=False)


def geodesic_amount(prescription: Prescription) -> float:
    """Litres by pyproj, cell by cell."""
    to = Transformer.from_crs(prescription.georeference.crs, "OGC:CRS84", always_xy=True)
    total = 0.0
    for row, col in np.argwhere(prescription.rates):
        corners = [
            prescription.georeference.transform @ (col + i, row + j) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))
        ]
        lons, lats = to.transform(*zip(*corners, strict=True))
        total += abs(GEOD.polygon_area_perimeter(lons, lats)[0]) * prescription.rates[row, col] / 1e4
    return total


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize(("heading", "lonlat"), [(0, False), (33.3, False), (0, True)])
def test_the_amount_is_the_sum_of_geodesic_areas_times_rates(
    tmp_path: Path, place: Place, heading: float, lonlat: bool
) -> None:
    mask = noisy(150, 170, 8)
    source = finished(tmp_path, mask, **replace(place, metres=1.0).grid)
    plan = prescribe(source, options(cell="5m", heading=heading), lonlat=lonlat)
    assert plan.prescription.amount == pytest.approx(geodesic_amount(plan.prescription), rel=1e-5)
    assert plan.balance.amount == pytest.approx(plan.prescription.amount, rel=1e-7)
    assert plan.balance.treated_hectares == pytest.approx(plan.prescription.treated_hectares, rel=1e-7)
    assert plan.prescription.amount > 50


def test_a_hectare_takes_its_rate(tmp_path: Path) -> None:
    """100 x 100 pixels of 1 m on the central meridian, where UTM is 0.04 % short."""
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(1, 0, 500_000, 0, -1, 5_400_000)}
    plan = prescribe(finished(tmp_path, np.full((100, 100), 2, np.uint8), **place), options(cell="4m"), lonlat=False)
    assert plan.prescription.amount == pytest.approx(200 * 1.0008, rel=1e-4)


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": None}, "--cell is missing"), ({"unit": None}, "--unit is missing"), ({"rate": None}, "--rate is missing"),
        ({"min_area": None}, "--min-area is missing"), ({"doubtful": None}, "--doubtful is missing"),
        ({"spot": None}, "nothing says where"), ({"zones": "z.gpkg"}, "--rates is missing"),
        ({"zones": "z.gpkg", "rates": "1=2"}, "--rate without"), ({"rates": "1=2"}, "--rates without --zones"),
        ({"unit": "gal/ac"}, "l/ha or kg/ha"), ({"doubtful": "maybe"}, "treat or skip"), ({"cell": "0m"}, "above 0"),
        ({"rate": "200l"}, "--unit l/ha"), ({"rate": 0}, "above 0"), ({"rate": "nan"}, "above 0"),
        ({"threshold": "30%"}, "0.5 to 1"), ({"min_area": "1m2"}, "more than a cell"), ({"cell": "5"}, "with its unit"),
        ({"heading": "north"}, "--heading north"), ({"heading": 4, "ab": "1,2,3,4"}, "--heading without"),
        ({"ab": "1,2,3,x"}, "LON,LAT"), ({"field_id": "name"}, "--fields"), ({"exclude_buffer": "1m"}, "--exclude"),
        ({"margin": "-1m"}, "length"), ({"spot": None, "zones": "z", "rates": "1=2", "rate": None}, "without --spot"),
        ({"zones": "z", "rates": "1=2,1=3", "rate": None}, "once"), ({"zones": "z", "rates": "1=x", "rate": None}, "number"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        options(**values)
    assert "\n" not in str(raised.value)


def test_options_are_read_as_people_write_them() -> None:
    read = options(
        ab="9.1, 48.2,9.2,48.3", margin="10cm", exclude=("a.kml", "b.kml"), threshold="80%", spot="weed, rumex"
    )
    assert (read.ab, read.margin, read.exclude) == ((9.1, 48.2, 9.2, 48.3), 0.1, (Path("a.kml"), Path("b.kml")))
    assert (read.threshold, read.spot, read.min_area) == (0.8, ("weed", "rumex"), 0)
    assert options(ab="line.geojson").ab == Path("line.geojson")


def test_a_class_that_cannot_be_treated_is_refused(tmp_path: Path) -> None:
    source = finished(tmp_path, np.zeros((20, 20), np.uint8))
    for spot, message in (("thistle", "no such class"), ("soil,crop,weed", "all classes")):
        with pytest.raises(UsageError, match=message):
            prescribe(source, options(spot=spot), lonlat=False)


def test_a_map_without_ground_is_refused(tmp_path: Path) -> None:
    source = finished(tmp_path, np.zeros((20, 20), np.uint8), crs=None)
    for lonlat in (False, True):
        with pytest.raises(DataError, match="CRS"):
            prescribe(source, options(), lonlat=lonlat)
