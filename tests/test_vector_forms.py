"""Vector files as people have them: layers, forms of GeoJSON, encodings, numbers as classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.crs import CRS

from agriseg.errors import DataError
from agriseg.vectors.features import LONLAT
from agriseg.vectors.read import is_vector, read_fields, read_polygons

UTM = CRS.from_epsg(32632)
BOXES = [shapely.box(500_000 + 10 * k, 5_400_000, 500_008 + 10 * k, 5_400_010) for k in range(3)]


def layer(
    path: Path, title: str | None = None, shapes: Any = BOXES, *, encoding: str | None = None, **columns: Any
) -> Path:
    values = [np.array(each, object) if isinstance(each[0], str) else np.array(each) for each in columns.values()]
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(shapes, object)), values, list(columns), layer=title, crs="EPSG:32632",
        geometry_type="Unknown" if path.suffix == ".gpkg" else "Polygon", append=path.exists(), encoding=encoding,
    )  # fmt: skip
    return path


def named(path: Path, column: str | None = None, crs: CRS = UTM) -> list[str]:
    return [field.name for field in read_fields(path, crs, column)]


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_fields(path, UTM, column)
    text = str(caught.value).replace(str(path.parent), "folder")
    assert len(text) <= 300
    assert "\n" not in text
    return text


# Layers


def test_a_layer_is_asked_for_where_several_have_shapes(tmp_path: Path) -> None:
    path = layer(tmp_path / "a.gpkg", "of 2025", name=["a", "b", "c"])
    pyogrio.raw.write(path, None, [np.array(["x"], object)], ["note"], layer="layer_styles", driver="GPKG", append=True)
    assert named(path) == ["a", "b", "c"]
    layer(path, "of 2026", name=["d", "e", "f"])
    layer(path, "trees", [shapely.Point(500_000, 5_400_000)], name=["g"])
    text = refusal(path)
    assert "3 layers (of 2025, of 2026, trees)" in text
    told = text.rpartition(" ")[2]
    assert told == "a.gpkg:trees"
    for wanted, names in (("of 2025", "abc"), ("of 2026", "def")):
        assert named(tmp_path / f"a.gpkg:{wanted}") == list(names)
        assert is_vector(tmp_path / f"a.gpkg:{wanted}")
    assert "feature 1 is a Point" in refusal(tmp_path / "a.gpkg:trees")
    assert "no layer 'notes'; it has of 2025, of 2026, trees" in refusal(tmp_path / "a.gpkg:notes")
    assert "no layer 'layer_styles'" in refusal(tmp_path / "a.gpkg:layer_styles")


def test_a_file_with_a_colon_in_its_name_is_that_file(tmp_path: Path) -> None:
    layer(tmp_path / "b.gpkg", "one", name=["a", "b", "c"]).rename(tmp_path / "a.gpkg:x.gpkg")
    assert named(tmp_path / "a.gpkg:x.gpkg") == ["a", "b", "c"]


def test_many_layers_are_one_line(tmp_path: Path) -> None:
    for number in range(12):
        layer(tmp_path / "a.gpkg", f"layer of a long name number {number}", name=["a", "b", "c"])
    assert "12 layers" in refusal(tmp_path / "a.gpkg")


# GeoJSON

RINGS = [[[9, 48], [9.1, 48], [9.1, 48.1], [9, 48]], [[9.2, 48], [9.3, 48], [9.3, 48.1], [9.2, 48]]]
SHAPES: list[dict[str, Any]] = [{"type": "Polygon", "coordinates": [ring]} for ring in RINGS]
FEATURES: list[dict[str, Any]] = [
    {"type": "Feature", "properties": {"name": name}, "geometry": shape, "id": 7, "stroke": "red"}
    for name, shape in zip("ab", SHAPES, strict=True)
]
DEEP = [{"type": "Polygon", "coordinates": [[[*xy, 12.5] for xy in ring]]} for ring in RINGS]
COLLECTION = {"type": "FeatureCollection", "features": FEATURES}
LINES = "\n".join(json.dumps(each) for each in FEATURES)


@pytest.mark.parametrize(
    ("text", "names", "parts"),
    [
        (COLLECTION, "ab", 2),
        (COLLECTION | {"crs": None, "bbox": [9, 48, 9, 48], "license": {"a": []}}, "ab", 2),
        (COLLECTION | {"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}}, "ab", 2),
        (COLLECTION | {"crs": {"type": "EPSG", "properties": {"code": 4326}}}, "ab", 2),
        ("\ufeff" + json.dumps(COLLECTION), "ab", 2),
        (FEATURES[0], "a", 1),
        (FEATURES[0] | {"properties": None}, "1", 1),
        (SHAPES[0], "1", 1),
        (DEEP[0], "1", 1),
        ({"type": "MultiPolygon", "coordinates": [each["coordinates"] for each in SHAPES]}, "1", 2),
        ({"type": "GeometryCollection", "geometries": DEEP}, "12", 2),
        (FEATURES[1] | {"geometry": {"type": "GeometryCollection", "geometries": SHAPES}}, "b", 2),
        (LINES, "ab", 2),
        (LINES + "\n\n", "ab", 2),
        (LINES.replace("\n", "\r\n"), "ab", 2),
        ("\x1e" + LINES.replace("\n", "\n\x1e"), "ab", 2),
        (json.dumps(FEATURES[0]) + "\n", "a", 1),
    ],
    ids=range(17),
)  # fmt: skip
def test_each_form_of_geojson_is_the_same_shapes(tmp_path: Path, text: Any, names: str, parts: int) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    found = read_fields(path, LONLAT)
    assert [field.name for field in found] == list(names)
    got = [part for field in found for part in shapely.get_parts(field.shape)]
    wanted = [shapely.Polygon(ring) for ring in RINGS]
    if names == "b" or parts == 2:
        assert [one.equals_exact(other) for one, other in zip(got, wanted, strict=True)] == [True, True]
    else:
        assert got[0].equals_exact(wanted[0])
    path.rename(tmp_path / "a.ndjson")
    assert is_vector(tmp_path / "a.ndjson")
    assert named(tmp_path / "a.ndjson", crs=LONLAT) == list(names)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps(COLLECTION)[:-5], "damaged or cut off"),
        (LINES[:-5], "damaged or cut off"),
        ('{"features":' + "[" * 100_000, "damaged or cut off"),
        ("[1, 2]", "no GeoJSON feature collection, feature or geometry"),
        (json.dumps({"type": "Topology", "objects": {}}), "its type is 'Topology'"),
        (json.dumps({"type": {}}), "no GeoJSON feature collection"),
        (json.dumps({"type": "FeatureCollection", "features": 3}), "no GeoJSON feature collection"),
        (json.dumps({"type": "FeatureCollection", "features": [3]}), "feature 1 is no JSON object"),
        (json.dumps({"features": [{"attributes": {}, "geometry": {"rings": RINGS}}]}), "Esri JSON"),
        (json.dumps(COLLECTION | {"crs": {"type": "link"}}), "CRS that is not known"),
        (json.dumps(COLLECTION | {"crs": {"properties": {"name": "the moon"}}}), "CRS that is not known"),
        (json.dumps(SHAPES[0]).replace("9.1", "NaN"), "feature 1 has a coordinate that is no number"),
        (json.dumps(SHAPES[0]).replace("9.1", "1e400"), "feature 1 has a coordinate that is no number"),
        (json.dumps(SHAPES[0]).replace("9.1, 48", "500010.5, 5400000"), "lies at 500010.5, 5400000, which is no longitude"),
    ],
    ids=range(14),
)  # fmt: skip
def test_json_that_is_no_geojson_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.geojson").write_text(text)
    assert says in refusal(tmp_path / "a.geojson")


# Encodings

NAMES = {
    "GBK": ["北田", "南田", "x"], "Big5": ["北田", "南田", "x"], "Shift_JIS": ["北田", "南田", "x"],
    "cp1252": ["Süd", "Öst", "x"], "cp437": ["Süd", "Öst", "x"], "cp1251": ["Поле", "Луг", "x"],
}  # fmt: skip


@pytest.mark.parametrize("encoding", NAMES)
def test_texts_of_another_encoding_are_asked_about_and_the_advice_helps(tmp_path: Path, encoding: str) -> None:
    path = layer(tmp_path / "farm.shp", encoding=encoding, feld=NAMES[encoding])
    cpg = path.with_suffix(".cpg")
    for text in (encoding, cpg.read_text(), encoding.lower() + "\r\n"):
        cpg.write_text(text)
        assert named(path, "feld") == NAMES[encoding]
    cpg.unlink()
    assert "echo GBK > farm.cpg" in refusal(path, "feld")
    cpg.write_text(encoding)
    assert named(path, "feld") == NAMES[encoding]
    cpg.write_text("UTF-8")
    assert "farm.cpg says 'UTF-8', but they are not" in refusal(path, "feld")
    cpg.write_text("nonsense")
    assert "'nonsense' is no encoding that is known" in refusal(path, "feld")


@pytest.mark.parametrize(
    ("text", "codec"), [("936", "GBK"), ("ANSI 1252", "cp1252"), ("OEM 437", "cp437"), ("88591", "cp1252")]
)
def test_code_pages_that_are_numbers(tmp_path: Path, text: str, codec: str) -> None:
    path = layer(tmp_path / "farm.shp", encoding=codec, feld=NAMES[codec])
    path.with_suffix(".cpg").write_text(text)
    assert named(path, "feld") == NAMES[codec]


@pytest.mark.parametrize(("driver", "written", "read"), [
    (0x4D, "GBK", "GBK"), (0x4F, "Big5", "Big5"), (0x03, "cp1252", "cp1252"), (0xC9, "cp1251", "cp1251"),
    (0x03, "UTF-8", "GBK"), (0x57, "UTF-8", "cp1251"), (0, "UTF-8", "Big5"),
])  # fmt: skip
def test_the_language_driver_of_the_table_counts(tmp_path: Path, driver: int, written: str, read: str) -> None:
    path = layer(tmp_path / "farm.shp", encoding=written, feld=NAMES[read])
    path.with_suffix(".cpg").unlink()
    table = bytearray(path.with_suffix(".dbf").read_bytes())
    table[29] = driver
    path.with_suffix(".dbf").write_bytes(table)
    assert named(path, "feld") == NAMES[read]


def test_plain_letters_need_no_encoding(tmp_path: Path) -> None:
    path = layer(tmp_path / "farm.shp", encoding="GBK", feld=["a", "b", "c"])
    path.with_suffix(".cpg").unlink()
    assert named(path, "feld") == ["a", "b", "c"]


# Numbers as classes


@pytest.mark.parametrize(
    "values", [[0, 1, 2], np.array([0, 1, 2], np.float32), [0.0, 1.0, 2.0], ["0", "1", "2"]], ids=range(4)
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_whole_numbers_are_one_text(tmp_path: Path, values: Any, suffix: str) -> None:
    path = layer(tmp_path / f"a{suffix}", cls=values)
    assert [each.label for each in read_polygons(path, UTM, "cls")] == ["0", "1", "2"]
