"""`agriseg layers`: from a finished map to what a grower reads."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from conftest import UTM, blocks, read, write_raster
from maps import finished
from runs import Ended

from agriseg.analysis import build
from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.analysis.build import make_layers
from agriseg.analysis.layer import LayerContext, LayerResult, MapLayer, ReportTable, StyledFeatures, TableColumn
from agriseg.analysis.record import LayersRecord
from agriseg.errors import AgrisegError, DataError, OutputError, UsageError
from agriseg.options.layers import LayerOptions
from agriseg.reports.report import write_report
from agriseg.vectors.geopackage import read_styles
from agriseg.vectors.qml import outline_style

TRANSFORM = UTM["transform"]
Cli = Callable[..., Ended]


def scene(seed: int = 0) -> np.ndarray:
    """(200, 240) patches of soil, crop and weed, with a corner of no data."""
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array([0, 0, 1, 2], np.uint8), (20, 24)).repeat(10, 0).repeat(10, 1)
    mask[:30, :40] = 255
    return mask


def boundaries(path: Path, boxes: dict[str, tuple[float, float, float, float]], column: str = "name") -> Path:
    """GeoJSON of boxes of pixels (left, top, right, bottom) in the map's CRS."""
    features = []
    for name, (left, top, right, bottom) in boxes.items():
        ring = [
            TRANSFORM @ corner for corner in ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
        ]
        features.append(
            {"type": "Feature", "properties": {column: name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        )
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


def test_everything_of_one_map(tmp_path: Path) -> None:
    mask = scene()
    run = finished(tmp_path, mask)
    fields = boundaries(tmp_path / "farm.geojson", {"north": (0, 0, 240, 100), "south": (20, 100, 200, 190)})
    plots = boundaries(tmp_path / "plots.geojson", {"p1": (60, 40, 90, 60), "p2": (100, 40, 130, 60)})
    options = LayerOptions.of(
        fields=fields, plots=plots, plot_buffer="-0.2m", affected="weed,crop=20%", cell="2m", zones=2, width="3m",
        scout=3, formats=("geojson", "fgb", "parquet"),
    )  # fmt: skip
    made = make_layers(run.folder / "field_run.json", options)
    names = {path.name for path in made.files}
    ends = ["classes.geojson", "classes.fgb", "classes.parquet", "area.csv", "plots.csv", "severity.tif", "clean.tif"]
    assert names >= {f"field_{end}" for end in [*ends, "scout.gpx", "scout.kml", "scout.geojson", "layers.json"]}
    assert all(path.is_file() for path in made.files)
    assert not list(tmp_path.glob(".field*"))

    inside = mask.copy()
    inside[100:, :20] = inside[100:, 200:] = inside[190:] = 255
    np.testing.assert_array_equal(read(tmp_path / "field_clean.tif")[0], inside)
    table = {(row["field"], row["class"]): row for row in rows_of(tmp_path / "field_area.csv")}
    parts = {"field": inside, "north": inside[:100], "south": inside[100:]}
    for (field, name), row in table.items():
        pixels = np.count_nonzero(parts[field] == ("soil", "crop", "weed").index(name))
        assert int(row["pixels"]) == pixels
        assert float(row["hectares"]) == pytest.approx(pixels * 1e-6, rel=1e-3)
    assert len(table) == 9

    package = tmp_path / "field.gpkg"
    assert [name for name, _ in pyogrio.list_layers(package)][:2] == ["classes", "fields"]
    _, _, shapes, columns = pyogrio.raw.read(package, layer="classes")
    painted = rasterio.features.rasterize(
        zip(shapely.from_wkb(shapes), columns[0], strict=True), mask.shape, fill=255, transform=TRANSFORM, dtype="uint8"
    )
    np.testing.assert_array_equal(painted, inside)

    tidy = {(row["plot"], row["trait"]): row for row in rows_of(tmp_path / "field_plots.csv")}
    kept = mask[42:58, 62:88]
    assert float(tidy["p1", "weed cover"]["value"]) == pytest.approx(100 * (kept == 2).mean(), abs=1e-4)
    assert float(tidy["p1", "mapped area"]["value"]) == pytest.approx(kept.size * 0.01, rel=2e-3)

    facts = json.loads((tmp_path / "field_layers.json").read_text())
    pixels = [np.count_nonzero(inside == k) for k in range(3)]
    expected = (pixels[2] + 0.2 * pixels[1]) / sum(pixels) * 100
    assert facts["severity"]["field_percent"] == pytest.approx(expected, rel=1e-6)
    assert [point["number"] for point in facts["scout"]] == [1, 2, 3]
    assert sum(zone["hectares"] for zone in facts["zones"]) == pytest.approx(sum(pixels) * 1e-6, rel=0.02)


def test_the_same_layers_have_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        run = finished(tmp_path / name, scene())
        options = LayerOptions.of(affected="weed", zones=2, formats=("geojson", "parquet"), mmu="0.5m2")
        paths = make_layers(run.folder / "field_run.json", options).files
        made.append({path.name: path.read_bytes() for path in paths if path.name != "field_layers.json"})
    assert made[0] == made[1]


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    run = finished(tmp_path, scene())
    record = run.folder / "field_run.json"
    (tmp_path / "field_area.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"field_area.csv: exists"):
        make_layers(record, LayerOptions())
    assert (tmp_path / "field_area.csv").read_text() == "mine"
    make_layers(record, LayerOptions(), overwrite=True)
    with pytest.raises(OutputError, match=r"field_layers.json: exists"):
        make_layers(record, LayerOptions())


def bad_fields(folder: Path, kind: str) -> Path:
    inside = (10, 10, 50, 50)
    path = folder / "f.geojson"
    if kind == "elsewhere":
        return boundaries(path, {"a": (9000, 9000, 9100, 9100)})
    if kind == "twice":
        text = boundaries(path, {"a": inside, "b": inside}).read_text()
        path.write_text(text.replace('"b"', '"a"'))
        return path
    if kind == "crossed":
        bow = [TRANSFORM @ corner for corner in ((0, 0), (50, 50), (50, 0), (0, 50), (0, 0))]
        tree = json.loads(boundaries(path, {"a": inside}).read_text())
        tree["features"][0]["geometry"]["coordinates"] = [bow]
        path.write_text(json.dumps(tree))
        return path
    if kind == "empty pixels":
        return boundaries(path, {"a": (2, 2, 30, 20)})
    return boundaries(path, {"a": inside}, "hof")


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        ("elsewhere", {}, "none of its polygons is on field_classes.tif"),
        ("twice", {}, "'a'"),
        ("crossed", {}, "[Ss]elf-intersection"),
        ("empty pixels", {}, "not one pixel is mapped within the fields"),
        ("column", {"field_id": "name"}, "no column 'name'"),
    ],
)
def test_boundaries_that_are_wrong(tmp_path: Path, kind: str, flags: dict[str, str], message: str) -> None:
    run = finished(tmp_path, scene())
    before = sorted(tmp_path.iterdir())
    fields = bad_fields(tmp_path, kind)
    with pytest.raises(DataError, match=message) as found:
        make_layers(run.folder / "field_run.json", LayerOptions.of(fields=fields, **flags))
    assert len(str(found.value)) <= 300
    assert sorted(path for path in tmp_path.iterdir() if path != fields) == before, "something was left"


@pytest.mark.parametrize(
    ("flags", "kind", "message"),
    [
        ({"affected": "rust"}, UsageError, "--affected rust: no such class; the map has soil, crop, weed"),
        ({"affected": "weed=0%"}, UsageError, "more than 0 and at most 100%"),
        ({"ground": "sand"}, UsageError, "--ground sand"),
        ({"zones": 3}, UsageError, "--zones without --affected CLASS or --zones-by RASTER"),
        ({"field_id": "name"}, UsageError, "--field-id without --fields"),
        ({"plot_buffer": "-1m"}, UsageError, "--plot-buffer without --plots"),
        ({"formats": ("dxf",)}, UsageError, "--format dxf"),
        ({"mmu": "5cm"}, UsageError, "no area"),
        ({"cell": "0m"}, UsageError, "metres above 0"),
        ({"smooth": "1cm"}, UsageError, "less than half a pixel of the map"),
        ({"affected": "weed", "cell": "1cm"}, UsageError, "at least 2 pixels"),
        ({"affected": "weed", "zones": 5, "width": "9m"}, DataError, "distinct values|zones"),
    ],
)
def test_flags_that_make_no_sense(
    tmp_path: Path, flags: dict[str, str], kind: type[AgrisegError], message: str
) -> None:
    mask = np.zeros((100, 100), np.uint8)
    run = finished(tmp_path, mask)
    with pytest.raises(kind, match=message):
        make_layers(run.folder / "field_run.json", LayerOptions.of(**flags))


def test_a_map_without_any_data_or_without_a_place(tmp_path: Path) -> None:
    nothing = finished(tmp_path / "a", np.full((50, 60), 255, np.uint8))
    with pytest.raises(DataError, match="not one pixel is mapped, so there are no layers"):
        make_layers(nothing.folder / "field_run.json", LayerOptions())
    nowhere = finished(tmp_path / "b", scene(), crs=None)
    fields = boundaries(tmp_path / "f.geojson", {"a": (0, 0, 100, 100)})
    with pytest.raises(DataError, match="has no CRS, so --fields cannot be placed on it"):
        make_layers(nowhere.folder / "field_run.json", LayerOptions.of(fields=fields))
    with pytest.raises(DataError, match="ground is unknown"):
        make_layers(nowhere.folder / "field_run.json", LayerOptions.of(affected="weed"))
    made = make_layers(nowhere.folder / "field_run.json", LayerOptions())
    assert {row["hectares"] for row in made.facts["areas"]} == {None}


@pytest.mark.parametrize(
    ("flags", "record", "why"),
    [
        ({"mmu": "0.1m2"}, {}, "cleaned up"),
        ({"smooth": "20cm"}, {}, "cleaned up"),
        ({}, {"parameters": {"blend": "fast"}}, "--blend fast"),
        ({}, {"gsd_m": 0.05}, "pixels of 0.1 m"),
        ({}, {"gsd_m": 0.2}, "pixels of 0.1 m"),
        ({}, {"options": {"gsd": 0.1}}, "resampled"),
        ({}, {"gsd_m": 0.1, "options": {"gsd": 0.1}, "parameters": {"blend": "smooth"}}, None),
    ],
)
def test_no_hectares_by_the_validation_of_other_maps(
    tmp_path: Path, flags: dict[str, str], record: dict[str, Any], why: str | None
) -> None:
    counts = np.tile(np.array([[80, 0, 5], [0, 60, 5], [2, 2, 20]]), (9, 1, 1))
    counts[0, 2] = 30
    model = {"evaluation": {"agreement": ErrorMatrix.of(counts).as_dict()}, "gsd_m": record.get("gsd_m")}
    finished(tmp_path, scene(), record={**record, "model": model})
    made = make_layers(tmp_path / "field_run.json", LayerOptions.of(**flags))
    told = {row["adjusted_ha"] is None and row["low_ha"] is None for row in made.facts["areas"]}
    assert told == {why is not None}
    said = [text for text in made.warnings if text.startswith("no hectares by validation: ")]
    assert [str(why) in text for text in said] == ([] if why is None else [True])


def test_the_share_of_a_field_that_is_mapped(tmp_path: Path) -> None:
    """A field may reach beyond the map, or over ground without data; the table and a warning say so."""
    mask = scene()
    finished(tmp_path, mask)
    boxes = {"whole": (100, 60, 200, 160), "half out": (200, 50, 280, 150), "holed": (0, 0, 80, 60)}
    options = LayerOptions.of(fields=boundaries(tmp_path / "farm.geojson", boxes))
    made = make_layers(tmp_path / "field_run.json", options)
    rows = {row["field"]: row["mapped_share"] for row in rows_of(tmp_path / "field_area.csv")}
    assert rows == {"field": "", "whole": "1.0", "half out": "0.5", "holed": "0.75"}
    said = next(text for text in made.warnings if "only a part is mapped" in text)
    assert "half out 50%, holed 75%" in said
    assert "whole" not in said


def test_the_interval_of_the_models_validation(tmp_path: Path) -> None:
    counts = np.zeros((40, 3, 3), np.int64)
    counts[:, 0, 0], counts[:, 1, 1], counts[:, 2, 2], counts[:, 2, 0] = 900, 50, 30, 15
    counts[::2, 2, 0] += 5

    agreement = ErrorMatrix.of(counts)
    assert agreement is not None
    record = {"model": {"evaluation": {"agreement": agreement.as_dict()}}}
    run = finished(tmp_path, scene(), record=record)
    areas = {row["class"]: row for row in make_layers(run.folder / "field_run.json", LayerOptions()).facts["areas"]}
    assert areas["weed"]["low_ha"] < areas["weed"]["adjusted_ha"] < areas["weed"]["high_ha"]
    assert areas["weed"]["adjusted_ha"] > areas["weed"]["hectares"], "weeds were missed in the validation"
    assert sum(row["adjusted_ha"] for row in areas.values()) == pytest.approx(
        sum(row["hectares"] for row in areas.values()), rel=1e-6
    )


def test_a_map_that_nobody_should_trust_says_so(tmp_path: Path) -> None:
    record = {"verdict": {"colour": "red", "reasons": ["the network doubts 80% of the pixels"]}}
    run = finished(tmp_path, scene(), record=record)
    made = make_layers(run.folder / "field_run.json", LayerOptions())
    assert made.warnings == ["the verdict of field is red: the network doubts 80% of the pixels"]


def test_from_the_command_line(agriseg_cli: Cli, model_file: Path, tmp_path: Path) -> None:
    image = write_raster(tmp_path / "north.tif", blocks(150, 170, low=1))
    tiles = ("--tile", 64, "--overlap", 32, "--margin", 8)
    done = agriseg_cli("run", image, "-m", model_file, "-o", "maps", *tiles, "--layers", "--affected", "class 1", "-q")
    assert done.code == 0, done.err
    assert re.search(r"\n  scout\n    number  class    area_m2 .*\n    1       class 1 ", done.out)
    again = agriseg_cli("layers", "maps", "--json", "--overwrite", "-q")
    assert again.code == 0, again.err
    assert json.loads(again.out)["areas"][0]["field"] == "north"
    with (tmp_path / "maps" / "north_area.csv").open("a") as table:
        table.write("north,rust,1\n")
    spoilt = agriseg_cli("verify", "maps", "--tiles", 0)
    assert spoilt.code == 65
    assert "north_area.csv: is not what was written" in spoilt.err


def test_no_patch_of_the_affected_classes_is_a_warning(tmp_path: Path) -> None:
    run = finished(tmp_path, np.where(scene() == 2, 0, scene()).astype(np.uint8))
    made = make_layers(run.folder / "field_run.json", LayerOptions(affected={"weed": 100.0}, scout=3))
    assert "no scout points: the map shows no patch of weed" in made.warnings
    facts = json.loads((tmp_path / "field_layers.json").read_text())
    assert (facts["scout"], facts["largest"]) == ([], None)


def pixel_share(context: LayerContext) -> LayerResult:
    """A layer of the test: a file, its style, a number, a warning, and a layer of the GeoPackage."""
    valid = sum(int((strip.mask != 255).sum()) for strip in context.source.strips())
    context.path("_coverage.csv").write_text(f"pixels\n{valid}\n")
    frame = np.array([shapely.box(*context.run.georeference.transform @ (0, 0), 600_000, 6_000_000)])
    layer = StyledFeatures(context.features("frame", frame, {"name": ["all"]}), outline_style())
    return LayerResult({"coverage": {"pixels": valid}}, (layer,), ("coverage is a layer of a test",))


def coverage_table(record: LayersRecord) -> ReportTable:
    return ReportTable("Coverage", (TableColumn("Valid pixels"),), ((record.facts["coverage"]["pixels"],),))


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_new_layer_is_one_entry_of_the_tuple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    monkeypatch.setattr(build, "MAP_LAYERS", (*build.MAP_LAYERS, MapLayer(pixel_share, coverage_table)))
    run = finished(tmp_path, scene())
    record = run.folder / "field_run.json"
    made = make_layers(record, LayerOptions())
    assert tmp_path / "field_coverage.csv" in made.files
    facts = json.loads((tmp_path / "field_layers.json").read_text())
    assert facts["coverage"] == {"pixels": int((scene() != 255).sum())}
    assert "field_coverage.csv" in facts["outputs"]
    assert "coverage is a layer of a test" in made.warnings
    assert "frame" in read_styles(tmp_path / "field.gpkg")
    page = write_report(record, lang).read_text()
    assert "Coverage" in page
    assert "Valid pixels" in page

    monkeypatch.undo()
    make_layers(record, LayerOptions(), overwrite=True)
    assert not (tmp_path / "field_coverage.csv").exists()
