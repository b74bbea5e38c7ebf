"""Fields in, layers out: what was written is what another library reads; what cannot be read right is refused."""

import json
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import shapely.affinity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform_geom

from agriseg.errors import AgrisegError, DataError, InputMissing, StorageError
from agriseg.legend import Legend
from agriseg.vectors import write as writing
from agriseg.vectors.features import LONLAT, Features
from agriseg.vectors.ogr import pyogrio
from agriseg.vectors.qml import categorized_style, outline_style, points_style
from agriseg.vectors.read import Field, read_fields, read_polygons
from agriseg.vectors.write import write_features, write_geopackage

UTM = CRS.from_epsg(32632)
EAST, NORTH = 500_000.0, 5_400_000.0
ODD = ["<b>&amp;</b>", '=HYPERLINK("x")', 'Müller\'s "Feld" 田', "]]>", '{"a": 1}', "2024-01-31"]
SUFFIXES = (".geojson", ".fgb", ".parquet", ".kml", ".gpkg")


def square(col: float, row: float, side: float = 10, hole: bool = False) -> shapely.Polygon:
    """In metres from the corner; counterclockwise."""
    x, y = EAST + col, NORTH + row
    ring = shapely.box(x + 2, y + 2, x + 4, y + 5) if hole else None
    box = shapely.box(x, y, x + side, y + side)
    return box.difference(ring) if ring else box


def shapes() -> np.ndarray:
    """Six: plain ones, one with a hole, one of two parts."""
    found = np.array([square(20.3 * k, k) for k in range(6)], object)
    found[1] = square(40, 7, hole=True)
    found[2] = shapely.MultiPolygon([square(0, 50, hole=True), square(30, 50)])
    return found


def patches(crs: Any = UTM) -> Features:
    rng = np.random.default_rng(0)
    columns = {
        "class_name": np.array(ODD, object), "number": np.array([1, 2, 3, 2**53 + 1, -5, 0]),
        "share": np.array([*rng.random(5), np.nan]),
    }  # fmt: skip
    there = Features("patches", shapes(), columns, UTM)
    return there if crs == UTM else there.to_crs(CRS.from_user_input(crs), Path("test"))


def rings(shape: shapely.Geometry) -> int:
    return len(shapely.get_rings(shapely.get_parts(shape)))


def points(names: list[Any], column: str = "desc") -> Features:
    places = shapely.points([[EAST + 7 * k, NORTH + 0.123456789 * k] for k in range(len(names))])
    texts = np.array(names, object)
    return Features("scout", places, {"name": texts, column: texts[::-1].copy()}, UTM, "Point")


def written(path: Path, features: Features) -> Path:
    if path.suffix == ".gpkg":
        write_geopackage(path, [features], {})
    else:
        write_features(path, features)
    return path


def by_another(path: Path) -> tuple[list[shapely.Geometry], dict[str, list[Any]], CRS]:
    """Shapes, columns and CRS by another library than wrote the file."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        told = json.loads(table.schema.metadata[b"geo"])
        assert (told["version"], told["primary_column"]) == ("1.1.0", "geometry")
        columns = table.to_pydict()
        found = [shapely.from_wkb(each) for each in columns.pop("geometry")]
        geometry = told["columns"]["geometry"]
        assert "share" not in columns or table["share"].null_count == 1
        assert geometry["bbox"] == list(shapely.total_bounds(found))
        assert geometry["geometry_types"] == sorted({shape.geom_type for shape in found})
        return found, columns, CRS.from_user_input(json.dumps(geometry["crs"]))
    if path.suffix == ".geojson":
        tree = json.loads(path.read_text())
        found = [shapely.geometry.shape(each["geometry"]) for each in tree["features"]]
        names = tree["features"][0]["properties"]
        return found, {name: [each["properties"][name] for each in tree["features"]] for name in names}, LONLAT
    layer = pyogrio.list_layers(path)[0][0]
    meta, _, wkb, values = pyogrio.raw.read(path, layer=layer, force_2d=True)
    columns = {name: each.tolist() for name, each in zip(meta["fields"], values, strict=True)}
    return [shapely.from_wkb(each) for each in wkb], columns, CRS.from_user_input(meta["crs"])


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:3857", "EPSG:27700", "OGC:CRS84"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_written_is_what_another_library_reads(tmp_path: Path, suffix: str, crs: str) -> None:
    sent = patches(crs)
    if suffix == ".kml":
        sent = replace(sent, columns={"name": sent.columns["class_name"]})
    found, columns, where = by_another(written(tmp_path / f"a{suffix}", sent))
    expected, tolerance = sent.shapes, 0.0
    if suffix in (".geojson", ".kml"):
        expected, tolerance = sent.to_crs(LONLAT, tmp_path).shapes, 1e-9
        assert all(shapely.is_ccw(each.exterior) for shape in found for each in shapely.get_parts(shape))
    else:
        assert where == sent.crs
    key = "Name" if suffix == ".kml" else "class_name"
    order = [ODD.index(name) for name in columns[key]]
    assert sorted(order) == list(range(6))
    assert suffix == ".fgb" or order == list(range(6))
    for shape, index in zip(found, order, strict=True):
        assert shapely.hausdorff_distance(shape, expected[index]) <= 1.5 * tolerance
        assert rings(shape) == rings(expected[index])
    if suffix != ".kml":
        assert columns["number"] == sent.columns["number"][order].tolist()
        none = [value is None or value != value for value in columns["share"]]
        assert none == [index == 5 for index in order]
        kept = [value for value, missing in zip(columns["share"], none, strict=True) if not missing]
        assert kept == [sent.columns["share"][index] for index in order if index != 5]


def test_points_for_a_phone(tmp_path: Path) -> None:
    sent = points(ODD)
    expected = shapely.get_coordinates(sent.to_crs(LONLAT, tmp_path).shapes)
    root = Xml.parse(written(tmp_path / "a.gpx", sent)).getroot()
    found = root.findall("{*}wpt")
    assert root.tag == "{http://www.topografix.com/GPX/1/1}gpx"
    assert [each.findtext("{*}name") for each in found] == ODD
    assert [each.findtext("{*}desc") for each in found] == ODD[::-1]
    np.testing.assert_allclose([[float(e.get("lon", "")), float(e.get("lat", ""))] for e in found], expected, atol=1e-9)
    root = Xml.parse(written(tmp_path / "a.kml", points(ODD, "description"))).getroot()
    found = root.findall(".//{*}Placemark")
    assert [each.findtext("{*}name") for each in found] == ODD
    assert [each.findtext("{*}description") for each in found] == ODD[::-1]
    places = [each.findtext(".//{*}coordinates", "").split(",")[:2] for each in found]
    np.testing.assert_allclose(np.array(places, float), expected, atol=1e-9)


def test_digits_that_look_like_noise_stay(tmp_path: Path) -> None:
    place = shapely.points([[9.000000004, 48.755000006]])
    path = written(tmp_path / "a.geojson", Features("p", place, {}, LONLAT, "Point"))
    assert json.loads(path.read_text())["features"][0]["geometry"]["coordinates"] == [9.000000004, 48.755000006]


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(st.characters(), max_size=8))
def test_any_text_comes_back_or_is_refused(tmp_path: Path, text: str) -> None:
    for suffix in (".geojson", ".parquet", ".gpx", ".kml", ".gpkg"):
        column = "description" if suffix == ".kml" else "desc"
        path = tmp_path / f"a{suffix}"
        try:
            written(path, points(["x", text], column))
        except AgrisegError:
            continue
        if suffix in (".gpx", ".kml"):
            root = Xml.parse(path).getroot()
            found = [each.text or "" for each in root.iter() if each.tag.endswith(f"}}{column}")]
            assert "".join(found) == text + "x"
        else:
            assert [each or "" for each in by_another(path)[1]["name"]] == ["x", text]


def test_plain_text_is_not_refused(tmp_path: Path) -> None:
    for suffix in (".geojson", ".parquet", ".gpx", ".kml", ".gpkg", ".fgb"):
        column = "description" if suffix == ".kml" else "desc"
        written(tmp_path / f"a{suffix}", points([*ODD, "", "two\nlines", "a\ttab"], column))


def test_a_geopackage_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    none = {"number": np.zeros(0, np.int64), "share": np.zeros(0), "name": np.zeros(0, object)}
    empty = Features("scout", np.zeros(0, object), none, UTM, "Point")
    styles = {"patches": outline_style("<&>"), "scout": points_style(), "gone": points_style()}
    path.write_text("what was there before")
    write_geopackage(path, [patches(), empty, replace(patches(), name="zones")], styles)
    assert [path] == list(tmp_path.iterdir())
    assert pyogrio.list_layers(path).tolist() == [
        ["patches", "MultiPolygon"], ["scout", "Point"], ["zones", "MultiPolygon"], ["layer_styles", None],
    ]  # fmt: skip
    meta, _, wkb, values = pyogrio.raw.read(path, layer="scout")
    assert (len(wkb), meta["crs"]) == (0, "EPSG:32632")
    assert dict(zip(meta["fields"], (each.dtype for each in values), strict=True)) == {
        "number": np.int64, "share": np.float64, "name": object,
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as package:
        assert package.execute("PRAGMA application_id").fetchone()[0].to_bytes(4, "big") == b"GPKG"
        assert package.execute("PRAGMA user_version").fetchone() == (10200,)
        assert package.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kinds = dict(package.execute("SELECT table_name, data_type FROM gpkg_contents"))
        assert kinds == {"patches": "features", "scout": "features", "zones": "features", "layer_styles": "attributes"}
        rows = package.execute("SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles")
        assert rows.fetchall() == [(name, "geom", styles[name], 1) for name in ("patches", "scout")]
        assert package.execute("SELECT count(*) FROM rtree_patches_geom").fetchone() == (6,)
    inside = pyogrio.raw.read(path, layer="patches", bbox=(EAST + 60, NORTH, EAST + 62, NORTH + 20))[3][0]
    assert inside.tolist() == [ODD[3]]


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for suffix in (".geojson", ".fgb", ".parquet"):
            write_features(tmp_path / folder / f"x{suffix}", patches())
        write_features(tmp_path / folder / "x.gpx", points(ODD))
        write_features(tmp_path / folder / "x.kml", points(ODD, "description"))
        write_geopackage(tmp_path / folder / "x.gpkg", [patches(), points(ODD)], {"patches": outline_style()})
    one, other = ({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("a", "b"))
    assert len(one) == 6
    assert one == other


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_ground_that_nobody_knows(tmp_path: Path, suffix: str) -> None:
    sent = Features("patches", shapes(), {"name": np.array(ODD, object)}, CRS())
    if suffix in (".geojson", ".kml"):
        with pytest.raises(DataError, match="no coordinate reference system"):
            written(tmp_path / f"a{suffix}", sent)
        assert not list(tmp_path.iterdir())
        return
    path = written(tmp_path / f"a{suffix}", sent)
    if suffix == ".parquet":
        assert json.loads(pq.read_schema(path).metadata[b"geo"])["columns"]["geometry"]["crs"] is None
    else:
        assert pyogrio.read_info(path, layer=pyogrio.list_layers(path)[0][0])["crs"] is None
    if suffix == ".gpkg":
        with pytest.raises(DataError, match="no coordinate reference system"):
            read_fields(path, UTM)


FAULTS: dict[str, Callable[[Features], Features]] = {
    "one is lost": lambda f: replace(f, shapes=f.shapes[1:], columns={k: v[1:] for k, v in f.columns.items()}),
    "a vertex moves": lambda f: replace(f, shapes=shapely.transform(f.shapes, lambda xy: xy + 1e-8)),
    "a hole is lost": lambda f: replace(
        f, shapes=np.array([shapely.MultiPolygon([shapely.Polygon(p.exterior) for p in shapely.get_parts(s)]) for s in f.shapes], object)
    ),
    "a text changes": lambda f: replace(f, columns={**f.columns, "name": np.array([*ODD[:5], "other"], object)}),
    "another CRS": lambda f: replace(f, crs=CRS.from_epsg(32633)),
    "two change places": lambda f: replace(f, columns={**f.columns, "name": np.array(ODD[::-1], object)}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "fault"),
    [(s, f) for s in SUFFIXES for f in FAULTS if f != "another CRS" or s not in (".geojson", ".kml")],
)
def test_a_file_that_does_not_read_back_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, fault: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("what was there before")
    for name in ("_write", "write_geojson", "write_geoparquet"):
        right = getattr(writing, name)
        monkeypatch.setattr(writing, name, lambda p, f, *a, right=right, **k: right(p, FAULTS[fault](f), *a, **k))
    with pytest.raises(StorageError, match="not what can be read back"):
        written(path, Features("patches", shapes(), {"name": np.array(ODD, object)}, UTM))
    assert [each.read_text() for each in tmp_path.iterdir()] == ["what was there before"]


def test_a_style_that_does_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = writing.add_styles
    monkeypatch.setattr(writing, "add_styles", lambda path, styles: right(path, {}))
    with pytest.raises(StorageError, match="not what can be read back"):
        write_geopackage(tmp_path / "a.gpkg", [patches()], {"patches": outline_style()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_takes_no_more(tmp_path: Path, suffix: str) -> None:
    many = np.array([square(12 * k, 0) for k in range(2000)], object)
    sent = Features("patches", many, {"name": np.array([f"{k * 7919 % 2003:x}" for k in range(2000)], object)}, UTM)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))
    try:
        with pytest.raises(StorageError) as caught:
            written(tmp_path / f"a{suffix}", sent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.exit_code == 74
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "change", "code", "says"),
    [
        ("a.shp", {}, 73, "expected .geojson"),
        ("a.gpx", {}, 73, "holds"),
        ("a.kml", {"columns": {"number": np.arange(6)}}, 73, "name and description"),
        ("a.kml", {"columns": {"name": np.arange(6)}}, 73, "name and description"),
        ("a.fgb", {"geometry_type": "Polygon"}, 65, "feature 3 of patches is a MultiPolygon, expected Polygon"),
        ("a.fgb", {"shapes": np.array([*shapes()[:5], None], object)}, 65, "feature 6 of patches is no geometry"),
        ("a.fgb", {"shapes": np.array([shapely.Polygon(), *shapes()[1:]], object)}, 65, "feature 1 .* an empty"),
        ("a.gpkg", {"columns": {"n": np.array([*ODD[:5], "bell\a"], object)}}, 65, "n of feature 6 holds control"),
        ("a.parquet", {"columns": {"n": np.array([*ODD[:5], "\ud800"], object)}}, 65, "n of feature 6 holds control"),
        ("a.gpkg", {"columns": {"Weed_ha": np.arange(6), "weed_ha": np.arange(6)}}, 73, "'Weed_ha' .* twice"),
        ("a.gpkg", {"columns": {"fid": np.arange(6)}}, 73, "'fid'"),
        ("a.geojson", {"shapes": np.array([shapely.box(-179.9, 1, 179.9, 2)], object), "columns": {}, "crs": LONLAT}, 65, "180th meridian"),
        ("a.geojson", {"shapes": np.array([shapely.box(0, 0, 1e30, 1e30)], object), "columns": {}}, 65, "OGC:CRS84"),
        ("a.geojson", {"columns": {"x": np.full(6, np.inf)}}, 74, "cannot be written"),
        ("no/a.geojson", {}, 74, "cannot be written"),
        ("no/a.fgb", {}, 74, "cannot be written"),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_cannot_be_written(tmp_path: Path, name: str, change: dict[str, Any], code: int, says: str) -> None:
    with pytest.raises(AgrisegError, match=says) as caught:
        written(tmp_path / name, replace(patches(), **change))
    text = str(caught.value)
    assert (caught.value.exit_code, "\n" in text, len(text) <= 300) == (code, False, True)
    assert not list(tmp_path.iterdir())


# Reading


def kml(*placemarks: str, head: str = "") -> str:
    space = 'xmlns="http://www.opengis.net/kml/2.2"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{head}<kml {space}><Document>{"".join(placemarks)}</Document></kml>'
    )


def ring(*corners: tuple[float, float]) -> str:
    text = " ".join(f"{lon},{lat},12.5" for lon, lat in [*corners, corners[0]])
    return f"<LinearRing><coordinates>\n\t{text}\n</coordinates></LinearRing>"


OUTER = [(9.0, 48.0), (9.1, 48.0), (9.1, 48.1), (9.0, 48.1)]
HOLES = [[(9.01, 48.01), (9.02, 48.01), (9.02, 48.02)], [(9.05, 48.05), (9.06, 48.05), (9.06, 48.06)]]


def polygon(*, holes: str = "") -> str:
    return f"<Polygon><outerBoundaryIs>{ring(*OUTER)}</outerBoundaryIs>{holes}</Polygon>"


def mark(name: str, shape: str = polygon(), more: str = "") -> str:
    return f"<Placemark><name>{name}</name>{more}{shape}</Placemark>"


APART = "".join(f"<innerBoundaryIs>{ring(*hole)}</innerBoundaryIs>" for hole in HOLES)
TOGETHER = f"<innerBoundaryIs>{''.join(ring(*hole) for hole in HOLES)}</innerBoundaryIs>"


def fields_of(path: Path, text: str, column: str | None = None, crs: CRS = LONLAT) -> list[Field]:
    path.write_text(text, encoding="utf-8")
    return read_fields(path, crs, column)


def test_fields_of_kml(tmp_path: Path) -> None:
    data = '<ExtendedData><Data name="crop"><value>rye</value></Data></ExtendedData>'
    simple = '<ExtendedData><SchemaData><SimpleData name="crop">oat</SimpleData></SchemaData></ExtendedData>'
    two = f"<MultiGeometry>{polygon()}{polygon(holes=APART).replace('9.', '19.')}</MultiGeometry>"
    style = "<styleUrl>http://127.0.0.1:9/styles.kml#a</styleUrl>"
    text = kml(
        mark(" Nord &lt;1&gt; ", polygon(holes=APART), style + data),
        f"<Folder><name>F</name>{mark('Süd', polygon(holes=TOGETHER), simple)}",
        f"<Folder>{mark('Ost', two)}</Folder></Folder>",
    )
    found = fields_of(tmp_path / "a.kml", text)
    whole, holed = shapely.Polygon(OUTER), shapely.Polygon(OUTER, HOLES)
    assert [field.name for field in found] == ["Nord <1>", "Süd", "Ost"]
    assert [field.shape.equals_exact(holed) for field in found] == [True, True, False]
    moved = shapely.affinity.translate(holed, 10)
    assert found[2].shape.equals_exact(shapely.MultiPolygon([whole, moved]), 1e-9)
    labels = [each.label for each in read_polygons(tmp_path / "a.kml", LONLAT, "crop")]
    assert labels == ["rye", "oat", None]


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".kml"])
@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857", "OGC:CRS84"])
def test_all_vertices_at_once_are_each_one_alone(tmp_path: Path, suffix: str, crs: str) -> None:
    target, names = CRS.from_user_input(crs), np.array([f"f{k}" for k in range(6)], object)
    path = tmp_path / f"a{suffix}"
    if suffix == ".shp":
        pyogrio.raw.write(path, shapely.to_wkb(shapes()), [names], ["name"], geometry_type="Polygon", crs="EPSG:32632")
    else:
        written(path, Features("fields", shapes(), {"name": names}, UTM))
    found = read_fields(path, target, "Name" if suffix == ".kml" else None)
    assert [field.name for field in found] == names.tolist()
    tolerance = 1e-8 if target.is_geographic else 1e-3
    for field, shape in zip(found, shapes(), strict=True):
        alone = shapely.geometry.shape(transform_geom(UTM, target, shapely.geometry.mapping(shape)))
        assert shapely.hausdorff_distance(field.shape, alone) < tolerance
        assert rings(field.shape) == rings(alone)


def geojson(columns: dict[str, list[Any]], geometry: Any = None) -> str:
    given = geometry or [shapely.geometry.mapping(shapely.box(k, 0, k + 0.5, 1)) for k in range(2)]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [{}] * len(given)
    parts = [{"type": "Feature", "geometry": g, "properties": p} for g, p in zip(given, rows, strict=True)]
    return json.dumps({"type": "FeatureCollection", "features": parts})


@pytest.mark.parametrize(
    ("columns", "column", "names"),
    [
        ({"name": ["a", "b"], "crop": ["x", "y"]}, None, ["a", "b"]),
        ({"NAME": ["a", "b"]}, None, ["a", "b"]),
        ({"id": [7, 8], "plot": [None, None]}, None, ["7", "8"]),
        ({"id": [7, 8], "name": ["a", "b"]}, None, ["1", "2"]),
        ({"crop": ["x", "y"]}, None, ["1", "2"]),
        ({}, None, ["1", "2"]),
        ({"id": [7, 8], "name": ["a", "b"]}, "id", ["7", "8"]),
        ({"crop": [" x", "y "]}, "crop", ["x", "y"]),
    ],
    ids=range(8),
)
def test_names_of_fields(tmp_path: Path, columns: dict[str, list[Any]], column: str | None, names: list[str]) -> None:
    assert [field.name for field in fields_of(tmp_path / "a.geojson", geojson(columns), column)] == names


BOW = [{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}]
BOX = shapely.geometry.mapping(shapely.box(0, 0, 1, 1))
LINK = "<NetworkLink><Link><href>http://127.0.0.1:9/more.kml</href></Link></NetworkLink>"
BOMB = '<!DOCTYPE kml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b SYSTEM "file:///etc/hostname">]>'
POINT = {"type": "Point", "coordinates": [0, 0]}


@pytest.mark.filterwarnings("ignore:GPKG", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("name", "text", "column", "says"),
    [
        ("a.kmz", "PK", None, "unpack it"),
        ("a.txt", "x", None, "expected .geojson, .kml, .gpkg or .shp"),
        ("a.kml", "{}", None, "is no KML"),
        ("a.kml", kml(mark("a"))[:-9], None, "is no KML"),
        ("a.kml", kml(mark("a")).replace("kml", "gml"), None, "its first element is gml"),
        ("a.kml", kml(mark("&a;"), head=BOMB), None, "document type kml"),
        ("a.kml", kml(mark("a"), LINK), None, "links to other files, which are not followed"),
        ("a.kml", kml(), None, "no features"),
        ("a.kml", kml(mark("a"), mark("b", "<Point><coordinates>1,2</coordinates></Point>")), None, "feature 2 is a Point"),
        ("a.kml", kml(mark("a", f"<MultiGeometry>{polygon()}<Point><coordinates>1,2</coordinates></Point></MultiGeometry>")), None, "feature 1 is a GeometryCollection"),
        ("a.kml", kml(mark("a", "")), None, "feature 1 is no geometry"),
        ("a.kml", kml(mark("a").replace(",12.5", ", 12.5")), None, "feature 1 is no polygon"),
        ("a.kml", kml(mark("a").replace("9.1,48.0,12.5", "9.1")), None, "feature 1 is no polygon"),
        ("a.kml", kml(mark("a"), mark("a")), None, "features 1 and 2 are both 'a' in 'Name'"),
        ("a.kml", kml(mark("a"), mark(" ")), "Name", "feature 2 has no 'Name'"),
        ("a.geojson", geojson({"x": ["a", "b"]}), "name", "no column 'name'; it has x"),
        ("a.geojson", geojson({"x": ["a", None]}), "x", "feature 2 has no 'x'"),
        ("a.geojson", geojson({"x": ["a" * 400, "a" * 400]}), "x", "features 1 and 2 are both"),
        ("a.geojson", geojson({f"column number {k}": [1, 2] for k in range(99)}), "x", "no column 'x'; it has column"),
        ("a.geojson", geojson({"x": ["a", "b\u001b[2J"]}), "x", "feature 2 has control characters"),
        ("a.geojson", geojson({}, [BOX, *BOW]), None, r"feature 2 is no valid polygon: Self-intersection\[0.5 0.5\]; repair"),
        ("a.geojson", geojson({}, [{"type": "Polygon", "coordinates": []}]), None, "feature 1 is empty"),
        ("a.geojson", geojson({}, [POINT]), None, "feature 1 is a Point, expected polygons"),
        ("a.geojson", geojson({}, [BOX, {"type": "Polygon", "coordinates": [[[0, 95], [1, 95], [1, 96], [0, 95]]]}]), None, "feature 2 lies at 0, 95, which is no longitude"),
        ("a.geojson", geojson({}, [{"type": "Polygon", "coordinates": [[["a", 5], [1, 5], [1, 6], [0, 5]]]}]), None, "feature 1 is no polygon"),
        ("a.geojson", geojson({}, ["none"]), None, "feature 1 is no polygon"),
        ("a.geojson", '{"features":' + "[" * 100_000, None, "damaged or cut off, no JSON"),
        ("a.gpkg", "SQLite format 3\0" + "x" * 5000, None, "cannot be read"),
    ],
    ids=range(28),
)  # fmt: skip
def test_what_cannot_be_fields(tmp_path: Path, name: str, text: str, column: str | None, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        fields_of(tmp_path / name, text, column, UTM)
    message = str(caught.value).replace(str(tmp_path), "folder")
    assert (caught.value.exit_code, "\n" in message, len(message) <= 300) == (65, False, True)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such file"):
        read_fields(tmp_path / "a.kml", UTM)


def test_a_geopackage_without_shapes(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    pyogrio.raw.write(path, None, [np.array(["x"], object)], ["note"], layer="notes", driver="GPKG")
    with pytest.raises(DataError, match="no shapes, a table alone"):
        read_fields(path, UTM)
    with closing(sqlite3.connect(path)) as package, package:
        package.execute("DELETE FROM gpkg_contents")
        package.execute("DROP TABLE notes")
    with pytest.raises(DataError, match=r"cannot be read .*not recognized as being in a supported file format"):
        read_fields(path, UTM)


@pytest.mark.parametrize("srs", [-1, 0])
def test_a_geopackage_of_undefined_ground_is_refused(tmp_path: Path, srs: int) -> None:
    path = written(tmp_path / "a.gpkg", patches())
    with closing(sqlite3.connect(path)) as package, package:
        package.execute("UPDATE gpkg_contents SET srs_id = ?", (srs,))
        package.execute("UPDATE gpkg_geometry_columns SET srs_id = ?", (srs,))
    with pytest.raises(DataError, match="no coordinate reference system"):
        read_fields(path, UTM)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".kml"])
def test_more_features_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", replace(patches(), columns={}))
    monkeypatch.setattr("agriseg.vectors.features.MAX_FEATURES", 6)
    assert len(read_fields(path, UTM)) == 6
    monkeypatch.setattr("agriseg.vectors.features.MAX_FEATURES", 5)
    with pytest.raises(DataError, match="more than 5 features, which is the limit"):
        read_fields(path, UTM)


def test_a_database_that_is_no_geopackage_is_refused_by_drivers_that_name_no_other_files(tmp_path: Path) -> None:
    """In a process of its own: others may have imported pyogrio before its switches were set."""
    with closing(sqlite3.connect(tmp_path / "a.gpkg")) as database, database:
        database.execute("CREATE TABLE fields (name TEXT, GEOMETRY BLOB)")
    told = (
        "import sys, pathlib; from agriseg.vectors.read import read_fields; from rasterio.crs import CRS\n"
        "import pyogrio; assert not {'OGR_VRT', 'SQLite', 'HTTP', 'WMS', 'GDALG'} & set(pyogrio.list_drivers())\n"
        "try: read_fields(pathlib.Path(sys.argv[1]), CRS.from_epsg(32632))\n"
        "except ValueError as error: print(type(error).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", told, tmp_path / "a.gpkg"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "DataError\n"
    assert "Unable to find driver" not in done.stderr


# Styles


def parsed(style: str) -> Xml.Element:
    assert style.startswith("<!DOCTYPE qgis")
    return Xml.fromstring(style)


def test_a_style_has_exactly_the_legend(tmp_path: Path) -> None:
    legend = Legend.from_names(["soil", '<crop> & "so"', "weed"])
    renderer = parsed(categorized_style(legend, "class_name")).find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class_name")
    assert [each.get("value") for each in renderer.iter("category")] == list(legend.names)
    symbols = {each.get("name"): each for each in renderer.iter("symbol")}
    assert len(symbols) == 3
    for entry, category in zip(legend, renderer.iter("category"), strict=True):
        symbol = symbols[category.get("symbol")]
        assert symbol.get("type") == "fill"
        assert symbol.find(".//Option[@name='color']").get("value") == ",".join(map(str, (*entry.rgb, 255)))  # type: ignore[union-attr]


def test_a_style_of_points_shows_their_number() -> None:
    root = parsed(points_style())
    assert root.get("labelsEnabled") == "1"
    assert root.find("labeling/settings/text-style").get("fieldName") == "number"  # type: ignore[union-attr]
    assert [each.get("type") for each in root.iter("symbol")] == ["marker"]
