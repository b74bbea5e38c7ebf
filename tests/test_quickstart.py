"""`agriseg quickstart`: from a few labels to the map, in a given time."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from conftest import write_raster
from test_fit import field

import agriseg.training.quickstart
from agriseg import load_model
from agriseg.cli import main

CLASSES = ("--classes", "dark,dim,bright")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder alone, however slow the machine is."""
    monkeypatch.setattr(agriseg.training.quickstart, "_FIXED_S", 0.0)
    monkeypatch.setattr(agriseg.training.quickstart, "_WHOLE", 0.0)
    monkeypatch.setattr(agriseg.training.quickstart, "_LEAST_S", -1e6)
    monkeypatch.setattr(agriseg.training.quickstart, "_FROZEN_STEPS", 10)
    monkeypatch.setattr(agriseg.training.quickstart, "_CHIP", 64)


def labels_of(image: Path, path: Path, count: int = 40) -> Path:
    """Squares of one class each, where the truth is in a block of 10 px."""
    with rasterio.open(image.with_name(f"{image.stem}_labels.tif")) as source:
        ids, transform, crs = source.read(1), source.transform, source.crs
    rng, features = np.random.default_rng(0), []
    for number in range(count):
        row, col = (10 * int(rng.integers(0, length // 10)) for length in ids.shape)
        if ids[row, col] == 255:
            continue
        corners = np.array([(col, row), (col + 10, row), (col + 10, row + 10), (col, row + 10)], float)
        shape = shapely.Polygon(np.stack(transform @ corners.T, 1))
        name = CLASSES[1].split(",")[ids[row, col]]
        geometry = json.loads(shapely.to_geojson(shape))
        features.append({"type": "Feature", "id": number, "properties": {"class": name}, "geometry": geometry})
    system = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{crs.to_epsg()}"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": system, "features": features}))
    return path


def asked(image: Path, labels: Path, out: Path, *more: str) -> int:
    arguments = ["quickstart", str(image), str(labels), *CLASSES, "-o", str(out), "--device", "cpu", *more]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.mark.usefixtures("quick")
def test_from_labels_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = field(tmp_path, height=300, width=400)
    out = tmp_path / "out"
    labels = labels_of(image, tmp_path / "labels.geojson")
    assert asked(image, labels, out, "--affected", "bright", "--time", "1s") == 0
    printed = capsys.readouterr().out
    model = load_model(out / "a_model" / "best.safetensors")
    assert model.legend.names == ("dark", "dim", "bright")
    assert model.about["evaluation"]["miou"] is not None, "labels that were held back score it"
    for name in ("a_classes.tif", "a_confidence.tif", "a_report.html", "a_severity.tif", "a_scout.geojson"):
        assert (out / name).exists(), name
    assert printed.rstrip().endswith("a_report.html")
    assert asked(image, labels, out) == 73, "what an earlier one made stays"
    assert "add --overwrite" in capsys.readouterr().err
    assert asked(image, labels, out, "--overwrite", "--time", "1s", "-q") == 0


def test_too_little_time_is_said_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = field(tmp_path, height=300, width=300)
    assert asked(image, labels_of(image, tmp_path / "labels.geojson"), tmp_path / "out", "--time", "1s") == 2
    said = capsys.readouterr().err
    assert "--time 1s is too short" in said
    assert "give --time" in said
    assert not (tmp_path / "out").exists()


def test_labels_of_an_unknown_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = field(tmp_path, height=300, width=300)
    labels = labels_of(image, tmp_path / "labels.geojson")
    labels.write_text(labels.read_text().replace("bright", "bike"))
    assert asked(image, labels, tmp_path / "out") == 65
    assert "bike" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_labels_may_be_a_raster_and_the_nodata_value_is_kept(tmp_path: Path) -> None:
    image = field(tmp_path, height=300, width=400, hole=False)
    with rasterio.open(image) as source:
        pixels = source.read()
    pixels[:, :50] = 7
    write_raster(image, pixels)
    labels = tmp_path / "a_labels.tif"
    assert asked(image, labels, tmp_path / "out", "--nodata", "7", "--time", "1s") == 0
    with rasterio.open(tmp_path / "out" / "a_classes.tif") as source:
        np.testing.assert_array_equal(source.read(1) == 255, (pixels == 7).all(0))
