"""Items, models and collections for a STAC catalogue, compared with what rasterio reads of the files themselves."""

import hashlib
import json
import math
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pystac
import pytest
import rasterio
import shapely
from conftest import blocks, write_raster
from maps import finished
from pystac.validation import GetSchemaError, JsonSchemaSTACValidator

import agriseg
from agriseg import SegmentationModel
from agriseg.analysis.build import make_layers
from agriseg.errors import DataError, UsageError
from agriseg.export.exports import check_exports
from agriseg.export.stac import write_collection, write_item
from agriseg.export.stac_model import write_model_item
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions

HOSTILE = ("<script>alert(1)</script>", '"quoted" \\', "=1+1", "../..", "two lines", "Rüben")
RECORD: dict[str, Any] = {
    "finished": "2026-07-01T08:30:00+02:00",
    "input": {"path": "/flights/field 7 #2.tif", "sha256": "ab" * 32, "acquired": None},
    "model": {
        "name": "weeds", "fingerprint": "0123456789abcdef" * 4, "architecture": "unet_small", "path": "/models/weeds.safetensors",
        "classes": ["soil", "crop", "weed"], "bands": ["red", "nir"], "scale": 0.5, "mean": [0.1, 0.2], "std": [0.3, 0.4],
        "stride_px": 2, "align_px": 8, "halo_px": 46, "temperature": 1.5, "evaluation": None,
    },
    "parameters": {"blend": "smooth", "tile_px": 512, "overlap_px": 96, "margin_px": 8},
    "options": {"window": None}, "outputs": {}, "versions": {"agriseg": "1.2.3"}, "verdict": {"colour": "amber", "reasons": []},
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may reach the network."""

    def refuse(*_: Any) -> None:
        raise ConnectionRefusedError("no network in a test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def told(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def validated(path: Path) -> dict[str, Any]:
    """What is in a file, after the core schemas that pystac brings have found it right."""
    values = told(path)
    kind = {"Feature": pystac.STACObjectType.ITEM, "Collection": pystac.STACObjectType.COLLECTION}[values["type"]]
    assert JsonSchemaSTACValidator().validate_core(values, kind, values["stac_version"])
    return values


def changed(**parts: Any) -> dict[str, Any]:
    """The record with other values: one level down where a part is a dictionary."""
    return {
        **RECORD,
        **{name: {**RECORD[name], **part} if isinstance(part, dict) else part for name, part in parts.items()},
    }


def mapped(folder: Path, *, record: dict[str, Any] = RECORD, **how: Any) -> Path:
    """The record of a small map without a run."""
    made = finished(folder, np.arange(60 * 80, dtype=np.uint8).reshape(60, 80) % 3, record=record, **how)
    path = folder / f"{made.stem}_run.json"
    outputs = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in (made.classes, made.confidence)}
    path.write_text(json.dumps({**json.loads(path.read_text()), "outputs": outputs}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Path:
    """The record of a run with probabilities, and with layers."""
    folder = tmp_path_factory.mktemp("stac")
    image = write_raster(folder / "2026-06-30 field.tif", blocks(300, 420))
    report = agriseg.segment(image, model_file, folder / "out", probabilities=True)
    (folder / "out" / "2026-06-30 field_report.html").write_text("<p>a report</p>")
    name = told(report.record)["classes"][1]["name"]
    make_layers(report.record, LayerOptions.of(affected=name, mmu="0.5m2", formats=("geojson",)))
    return report.record


def rasters(item: dict[str, Any], folder: Path) -> Iterator[tuple[dict[str, Any], rasterio.DatasetReader]]:
    for asset in item["assets"].values():
        if asset["href"].endswith(".tif"):
            with rasterio.open(folder / asset["href"]) as dataset:
                yield asset, dataset


def test_the_item_of_a_run_is_valid_and_lists_what_is_there(run: Path) -> None:
    item = validated(write_item(run))
    listed = {Path(asset["href"]).name for asset in item["assets"].values()}
    written = {path.name for path in run.parent.iterdir()} - {"2026-06-30 field_stac.json"}
    assert listed == {name for name in written if not name.endswith("_mlm.json")}
    assert all(asset["href"].startswith("./") for asset in item["assets"].values())
    kinds = {key: (asset["type"], asset["roles"]) for key, asset in item["assets"].items()}
    cog = "image/tiff; application=geotiff; profile=cloud-optimized"
    assert kinds["classes"] == kinds["clean"] == (cog, ["data", "classification"])
    assert kinds["confidence"] == kinds["probabilities"] == kinds["severity"] == (cog, ["data"])
    assert kinds["gpkg"] == ("application/geopackage+sqlite3", ["data"])
    assert kinds["area_csv"] == ("text/csv", ["data"])
    assert kinds["classes_geojson"] == ("application/geo+json", ["data"])
    assert kinds["image_png"] == kinds["classes_png"] == kinds["confidence_png"] == ("image/png", ["overview"])
    assert kinds["run_json"] == kinds["layers_json"] == ("application/json", ["metadata"])
    assert kinds["report_html"] == ("text/html", ["metadata"])


def test_checksums_and_sizes_are_those_of_the_files(run: Path) -> None:
    assets = told(write_item(run))["assets"]
    assert "file:checksum" not in assets.pop("report_html"), "it may be made anew, in another language"
    for asset in assets.values():
        data = (run.parent / asset["href"]).read_bytes()
        assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest(), asset["href"]
        assert asset["file:size"] == len(data)


def test_grids_and_bands_are_those_of_the_files(run: Path) -> None:
    item, seen = told(write_item(run)), 0
    for asset, dataset in rasters(item, run.parent):
        assert asset["proj:shape"] == [dataset.height, dataset.width]
        assert asset["proj:transform"] == list(dataset.transform)[:6]
        assert [band["data_type"] for band in asset["bands"]] == list(dataset.dtypes)
        assert [band["description"] for band in asset["bands"]] == list(dataset.descriptions)
        assert [band["raster:scale"] for band in asset["bands"]] == list(dataset.scales)
        for band, nodata in zip(asset["bands"], dataset.nodatavals, strict=True):
            assert band["nodata"] == ("nan" if math.isnan(nodata) else nodata)
        assert rasterio.CRS.from_string(item["properties"]["proj:code"]) == dataset.crs
        seen += 1
    assert seen == 5
    assert item["assets"]["confidence"]["bands"][0]["raster:scale"] == 0.004
    assert item["assets"]["severity"]["proj:shape"] != item["assets"]["classes"]["proj:shape"]


def test_classes_and_colours_are_those_of_the_mask(run: Path) -> None:
    item = told(write_item(run))
    with rasterio.open(run.parent / item["assets"]["classes"]["href"]) as mask:
        colours, tags = mask.colormap(1), mask.tags(1)
    classes = item["assets"]["classes"]["classification:classes"]
    assert [f"CLASS_{each['value']}" for each in classes] == [f"CLASS_{k}" for k in range(4)]
    for each in classes:
        assert each["title"] == each["description"] == tags[f"CLASS_{each['value']}"]
        assert tuple(bytes.fromhex(each["color_hint"])) == colours[each["value"]][:3]
        assert re.fullmatch(r"[0-9A-Za-z_-]+", each["name"])
        assert re.fullmatch(r"[0-9A-Fa-f]{6}", each["color_hint"])


def test_what_a_flight_and_a_run_were(run: Path) -> None:
    item, record = told(write_item(run)), told(run)
    told_of = item["properties"]
    assert item["id"].startswith("2026-06-30_field-")
    assert told_of["title"] == "2026-06-30 field"
    assert told_of["processing:software"] == {"agriseg": record["versions"]["agriseg"]}
    assert told_of["processing:datetime"] == record["finished"].replace("+00:00", "Z")
    assert record["model"]["fingerprint"] in told_of["processing:lineage"]
    assert told_of["agriseg:verdict"] == record["verdict"]["colour"]
    links = {link["rel"]: link["href"] for link in item["links"]}
    assert links["via"] == record["input"]["path"]


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    once = [path.read_bytes() for path in (write_model_item(run), write_item(run))]
    assert [path.read_bytes() for path in (write_model_item(run), write_item(run))] == once


def test_validation_of_the_core_reaches_nothing_and_that_of_extensions_would(tmp_path: Path) -> None:
    """So the socket that refuses is one that pystac would ask."""
    item = validated(write_item(mapped(tmp_path)))
    extension = next(name for name in item["stac_extensions"] if "projection" in name)
    with pytest.raises(GetSchemaError):
        JsonSchemaSTACValidator().validate_extension(item, pystac.STACObjectType.ITEM, "1.1.0", extension)


def test_the_core_schema_finds_what_is_wrong(tmp_path: Path) -> None:
    path = write_item(mapped(tmp_path))
    values = told(path)
    del values["bbox"]  # needed beside a geometry
    path.write_text(json.dumps(values))
    with pytest.raises(pystac.errors.STACValidationError):
        validated(path)


def test_layers_of_another_run_are_left_out(tmp_path: Path) -> None:
    record = mapped(tmp_path)
    csv = tmp_path / "field_area.csv"
    csv.write_text("field,ha\n")
    layers = tmp_path / "field_layers.json"

    def made_of(sha256: str) -> set[str]:
        outputs = {csv.name: hashlib.sha256(csv.read_bytes()).hexdigest()}
        layers.write_text(
            json.dumps({"format": 1, "run": {"record": record.name, "sha256": sha256}, "outputs": outputs})
        )
        return set(told(write_item(record))["assets"])

    assert made_of("00" * 32) == {"classes", "confidence", "run_json"}
    now = hashlib.sha256(record.read_bytes()).hexdigest()
    assert made_of(now) == {"classes", "confidence", "run_json", "area_csv", "layers_json"}
    csv.unlink()
    assert set(told(write_item(record))["assets"]) == {"classes", "confidence", "run_json", "layers_json"}


TURNED = rasterio.Affine.translation(5e5, 5.4e6) @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(25, -25)


@pytest.mark.parametrize(
    ("crs", "to"),
    [
        ("EPSG:32632", rasterio.Affine(25, 0, 700_000, 0, -25, 5_400_000)),  # 2 km wide, far from the zone's middle
        ("EPSG:32632", TURNED),
        ("EPSG:4326", rasterio.Affine(1e-4, 0, 9.5, 0, -1e-4, 48.5)),
        ("EPSG:3035", rasterio.Affine(10, 0, 4_300_000, 0, -10, 2_900_000)),
        ("EPSG:3857", rasterio.Affine(10, 0, 1_000_000, 0, 10, 6_000_000)),  # rows go north
    ],
    ids=["utm", "turned", "degrees", "laea", "mercator-up"],
)
def test_the_footprint_holds_the_maps_border(tmp_path: Path, crs: str, to: rasterio.Affine) -> None:
    """Points of the border by pyproj lie on the border of the footprint, within 1 cm."""
    item = validated(write_item(mapped(tmp_path, crs=crs, transform=to)))
    shape = shapely.geometry.shape(item["geometry"])
    carry = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    side = np.linspace(0, 1, 41)
    cols, rows = 80 * np.r_[side, side, 0 * side, 0 * side + 1], 60 * np.r_[0 * side, 0 * side + 1, side, side]
    border = shapely.points(np.stack(carry.transform(*(to @ (cols, rows))), axis=1))
    assert shapely.distance(border, shape.exterior).max() < 1e-7
    assert shape.buffer(1e-8).contains(shapely.MultiPoint(border[[0, 40, 41, 81]]))
    assert shape.contains(shapely.Point(carry.transform(*(to @ (40, 30)))))
    assert shape.exterior.is_ccw
    np.testing.assert_allclose(item["bbox"], shape.bounds)


def test_a_map_across_the_180th_meridian_is_in_two_parts(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:32760", always_xy=True).transform(180, -16.8)
    to = rasterio.Affine(10, 0, x - 400, 0, -10, y)
    item = validated(write_item(mapped(tmp_path, crs="EPSG:32760", transform=to)))
    shape = shapely.geometry.shape(item["geometry"])
    assert shape.geom_type == "MultiPolygon"
    assert item["bbox"][::2] == [-180, 180]
    ends = pyproj.Transformer.from_crs("EPSG:32760", "OGC:CRS84", always_xy=True).transform(
        [x - 400, x + 400], [y - 300] * 2
    )
    assert ends[0][1] < 0 < ends[0][0]
    for end in ends[0]:
        assert shape.distance(shapely.Point(end, ends[1][0])) < 1e-7
    assert not shape.contains(shapely.Point(0, -16.8))


def test_a_map_without_a_crs_has_no_place(tmp_path: Path) -> None:
    item = validated(write_item(mapped(tmp_path, crs=None, transform=rasterio.Affine(1, 0, 0, 0, 1, 0))))
    assert item["geometry"] is None
    assert "bbox" not in item
    assert item["properties"]["proj:code"] is None
    assert item["assets"]["classes"]["proj:shape"] == [60, 80]


def test_a_crs_without_a_code_is_written_out(tmp_path: Path) -> None:
    own = "+proj=tmerc +lat_0=48 +lon_0=9.3 +k=1 +x_0=1000 +y_0=2000 +ellps=bessel +units=m"
    item = validated(write_item(mapped(tmp_path, crs=own, transform=rasterio.Affine(0.1, 0, 1000, 0, -0.1, 2000))))
    assert item["properties"]["proj:code"] is None
    assert pyproj.CRS.from_wkt(item["properties"]["proj:wkt2"]) == pyproj.CRS.from_wkt(
        rasterio.CRS.from_string(own).to_wkt()
    )
    assert item["bbox"][0] == pytest.approx(9.3, abs=0.01)


def test_a_local_crs_has_no_place_but_its_text(tmp_path: Path) -> None:
    own = 'LOCAL_CS["shed floor",UNIT["metre",1]]'
    item = validated(write_item(mapped(tmp_path, crs=own)))
    assert item["geometry"] is None
    assert "shed floor" in item["properties"]["proj:wkt2"]


@pytest.mark.parametrize(
    ("acquired", "moment", "of", "end"),
    [
        (None, "2026-07-01T06:30:00Z", "processing", None),
        ("2026-06-30", "2026-06-30T00:00:00Z", "flight", "2026-06-30T23:59:59Z"),
        ("2026-06-30T11:20:05+02:00", "2026-06-30T09:20:05Z", "flight", None),
        ("2026-06-30T11:20:05", "2026-06-30T11:20:05Z", "flight", None),
    ],
    ids=str,
)
def test_the_time_is_the_flights_or_says_that_it_is_not(
    tmp_path: Path, acquired: str | None, moment: str, of: str, end: str | None
) -> None:
    item = validated(write_item(mapped(tmp_path, record=changed(input={"acquired": acquired}))))
    assert item["properties"]["datetime"] == moment
    assert item["properties"]["agriseg:datetime_of"] == of
    assert item["properties"].get("end_datetime") == end
    assert item["properties"]["processing:datetime"] == "2026-07-01T06:30:00Z"


def test_a_record_that_knows_of_no_flight_at_all(tmp_path: Path) -> None:
    record = changed(input={})
    record["input"].pop("acquired")
    assert told(write_item(mapped(tmp_path, record=record)))["properties"]["agriseg:datetime_of"] == "processing"


def test_hostile_names_are_data(tmp_path: Path) -> None:
    record = changed(model={"name": HOSTILE[0], "classes": list(HOSTILE)})
    path = mapped(tmp_path, record=record, names=HOSTILE, stem="a 100%?#b")
    item, model = validated(write_item(path)), validated(write_model_item(path))
    for classes in (
        item["assets"]["classes"]["classification:classes"],
        model["properties"]["mlm:output"][0]["classification:classes"],
    ):
        assert [each["title"] for each in classes] == list(HOSTILE)
        assert all(re.fullmatch(r"[0-9A-Za-z_-]+", each["name"]) for each in classes)
        assert len({each["name"] for each in classes}) == len(HOSTILE)
    assert item["assets"]["classes"]["href"] == "./a 100%25%3F%23b_classes.tif"
    assert {link["rel"]: link["href"] for link in item["links"]}["via"] == "/flights/field 7 %232.tif"
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([
        *(f"a 100%?#b_{end}" for end in ("classes.tif", "confidence.tif", "run.json", "stac.json")),
        "script_alert_1_script_-01234567_mlm.json",
    ])  # fmt: skip
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", model["properties"]["mlm:name"])


def test_a_model_in_the_words_of_mlm(tmp_path: Path) -> None:
    """The rules are those of its schema, version 1.4.0, which pystac does not bring."""
    path = write_model_item(mapped(tmp_path))
    item = validated(path)
    assert path.name == "weeds-01234567_mlm.json"
    told_of, model = item["properties"], RECORD["model"]
    assert (item["geometry"], told_of["datetime"]) == (None, None)
    assert told_of["mlm:architecture"] == "unet_small"
    assert told_of["mlm:framework"] == "PyTorch"
    assert told_of["mlm:tasks"] == ["semantic-segmentation"]
    assert told_of["agriseg:fingerprint"] == model["fingerprint"]
    taken, given = told_of["mlm:input"][0], told_of["mlm:output"][0]
    assert taken["input"] == {
        "shape": [-1, 2, 512, 512],
        "dim_order": ["batch", "channel", "height", "width"],
        "data_type": "float32",
    }
    assert given["result"]["shape"] == [-1, 3, 256, 256]
    assert given["result"]["dim_order"] == ["batch", "class", "height", "width"]
    assert taken["bands"] == ["red", "nir"]
    assert told_of["bands"] == item["assets"]["model"]["bands"] == [{"name": "red"}, {"name": "nir"}]
    for stored in (0.0, 255.0):
        for scaling, mean, std in zip(taken["value_scaling"], model["mean"], model["std"], strict=True):
            assert (stored - scaling["mean"]) / scaling["stddev"] == pytest.approx(
                (stored * model["scale"] - mean) / std
            )
    assert told_of["mlm:hyperparameters"]["overlap_px"] == 96
    assert item["assets"]["model"]["href"] == "/models/weeds.safetensors"
    assert {"mlm:model", "mlm:weights"} < set(item["assets"]["model"]["roles"])
    assert item["assets"]["model"]["mlm:artifact_type"] == "safetensors.torch.save_file"


def test_a_model_without_a_file_has_no_asset_and_so_no_bands(tmp_path: Path) -> None:
    item = validated(
        write_model_item(mapped(tmp_path, record=changed(model={"path": None, "architecture": None, "name": "7"})))
    )
    assert item["assets"] == {}
    assert item["properties"]["mlm:input"][0]["bands"] == []
    assert "bands" not in item["properties"]
    assert "red, nir" in item["properties"]["mlm:input"][0]["description"]
    assert item["properties"]["mlm:architecture"] == "unknown"
    assert item["properties"]["mlm:name"] == "model-7-01234567"


def test_the_metrics_of_a_model_are_told(tmp_path: Path) -> None:
    scores = {
        "miou": 0.7,
        "pixels": 900,
        "expected_calibration_error": None,
        "classes": [{"name": "weed", "iou": 0.6}],
        "confusion": {},
    }
    item = validated(write_model_item(mapped(tmp_path, record=changed(model={"evaluation": scores}))))
    assert item["properties"]["agriseg:metrics"] == {
        "miou": 0.7, "pixels": 900, "expected_calibration_error": None, "iou": {"weed": 0.6}
    }  # fmt: skip


def test_the_item_links_to_its_model_where_that_is(tmp_path: Path) -> None:
    record = mapped(tmp_path)
    assert [link["rel"] for link in told(write_item(record))["links"]] == ["via"]
    model = write_model_item(record)
    item = pystac.Item.from_file(write_item(record))
    assert [each.id for each in item.get_derived_from()] == ["weeds-01234567"]
    assert item.get_links("derived_from")[0].get_absolute_href() == str(model)


def test_a_model_of_a_run(run: Path, small: SegmentationModel) -> None:
    item = validated(write_model_item(run))
    assert item["properties"]["agriseg:fingerprint"] == small.fingerprint
    assert item["assets"]["model"]["href"] == told(run)["model"]["path"]
    scaling = item["properties"]["mlm:input"][0]["value_scaling"]
    assert [each["mean"] * small.scale for each in scaling] == pytest.approx(small.mean)


def test_a_collection_of_maps_below_it(tmp_path: Path) -> None:
    first = write_item(mapped(tmp_path / "north" / "a", record=changed(input={"acquired": "2026-05-01"})))
    away = rasterio.Affine(0.1, 0, 510_000, 0, -0.1, 5_410_000)
    second = write_item(mapped(tmp_path / "b", transform=away, names=("soil", "crop", "rust"), stem="two"))
    nowhere = write_item(mapped(tmp_path / "c", crs=None, transform=rasterio.Affine(1, 0, 0, 0, 1, 0), stem="three"))
    path = write_collection(tmp_path, [first, second, nowhere])
    collection, items = validated(path), [validated(each) for each in (first, second, nowhere)]
    boxes = np.array([item["bbox"] for item in items if "bbox" in item])
    assert collection["extent"]["spatial"]["bbox"] == [[*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]]
    assert collection["extent"]["temporal"]["interval"] == [["2026-05-01T00:00:00Z", "2026-07-01T06:30:00Z"]]
    assert collection["license"] == "other"
    assert [each["title"] for each in collection["summaries"]["classification:classes"]] == [
        "soil",
        "crop",
        "weed",
        "rust",
    ]
    hrefs = [link["href"] for link in collection["links"] if link["rel"] == "item"]
    assert hrefs == ["./north/a/field_stac.json", "./b/two_stac.json", "./c/three_stac.json"]
    by_pystac = pystac.Collection.from_file(path)
    assert [item.id for item in by_pystac.get_items()] == [item["id"] for item in items]
    back = pystac.Item.from_file(first)
    assert back.get_collection().id == items[0]["collection"] == collection["id"]
    assert {link["href"] for link in items[0]["links"] if link["rel"] in ("root", "parent", "collection")} == {
        "../../collection.json"
    }


def test_a_collection_again_gives_the_same_bytes(tmp_path: Path) -> None:
    items = [write_item(mapped(tmp_path / name)) for name in "ab"]
    once = [path.read_bytes() for path in (write_collection(tmp_path, items), *items)]
    assert [path.read_bytes() for path in (write_collection(tmp_path, items), *items)] == once


def test_a_collection_of_maps_without_a_place_is_of_the_world(tmp_path: Path) -> None:
    item = write_item(mapped(tmp_path, crs=None, transform=rasterio.Affine(1, 0, 0, 0, 1, 0)))
    assert validated(write_collection(tmp_path, [item]))["extent"]["spatial"]["bbox"] == [[-180, -90, 180, 90]]


def test_many_flights_of_one_name_have_ids_of_their_own(tmp_path: Path) -> None:
    one = told(write_item(mapped(tmp_path / "a")))["id"]
    assert told(write_item(mapped(tmp_path / "b", record=changed(input={"sha256": "cd" * 32}))))["id"] != one
    assert told(write_item(mapped(tmp_path / "c", record=changed(model={"fingerprint": "ef" * 32}))))["id"] != one
    assert told(write_item(mapped(tmp_path / "d", record=changed(finished="2026-08-01T00:00:00Z"))))["id"] == one


def test_what_is_no_item_and_no_record_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no items"):
        write_collection(tmp_path, [])
    for text in ("{", "{}", "[1]", json.dumps(told(write_model_item(mapped(tmp_path))))):
        (tmp_path / "x_stac.json").write_text(text)
        with pytest.raises(DataError, match=r"x_stac\.json: no Item of a map"):
            write_collection(tmp_path, [tmp_path / "x_stac.json"])
    assert not (tmp_path / "collection.json").exists()
    bare = finished(tmp_path / "bare", np.zeros((4, 4), np.uint8)).folder / "field_run.json"
    bare.write_text(json.dumps({"format": 1, "classes": []}))
    for write in (write_item, write_model_item):
        with pytest.raises(DataError, match="no record of a run, it has no 'finished'"):
            write(bare)
    with pytest.raises(DataError, match="'2026-02-31' is none"):
        write_item(mapped(tmp_path / "day", record=changed(input={"acquired": "2026-02-31"})))


def test_without_pystac_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystac", None)
    with pytest.raises(UsageError, match=r"^STAC needs the package pystac; install agriseg\[stac\]$"):
        check_exports(ExportOptions(stac=True))
