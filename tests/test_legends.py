"""Legends: QGIS, where it is installed, shows the entries of the legend and nothing else."""

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from conftest import blocks, read, write_raster
from PIL import Image
from test_layers import boundaries

from agriseg import segment
from agriseg.analysis.build import make_layers
from agriseg.demo.reference_models import nearest_level
from agriseg.legend import Legend
from agriseg.maps.index_maps import write_indices
from agriseg.options.index import IndexOptions
from agriseg.options.layers import LayerOptions
from agriseg.raster.qml import run_layer_style
from agriseg.run_layers import CONFIDENCE, PROBABILITIES

PYTHON = Path("/usr/bin/python3")
"""Debian's own; its package python3-qgis is for it alone."""
LEGEND = Legend.from_names(["soil", '<b>crop</b> & "so"', "${weed}", "Müller's 田 ]]>"])
SHARES = [0, 0.25, 0.5, 0.7, 0.85, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its layers and an index."""
    home = tmp_path_factory.mktemp("legends")
    pixels = blocks(200, 240, low=1)
    pixels[:, :40, :60] = 0
    image = write_raster(home / "field.tif", pixels, nodata=0)
    out = home / "out"
    tiles = {"tile": 64, "overlap": 32, "margin": 8}
    run = segment(image, replace(nearest_level(), legend=LEGEND), out, probabilities=True, **tiles)
    fields = boundaries(home / "farm.geojson", {"north": (0, 0, 240, 100), "<south>": (20, 100, 200, 190)})
    plots = boundaries(home / "plots.geojson", {"p1": (60, 40, 90, 60)})
    options = LayerOptions.of(fields=fields, plots=plots, affected="${weed}", ground="soil", zones=2, cell="2m")
    make_layers(run.record, options)
    write_indices(image, ["gli"], out, IndexOptions(bands={"red": 1, "green": 2, "blue": 3}))
    (out / "field_probabilities.qml").write_text(run_layer_style(PROBABILITIES, LEGEND))
    return out


def ramp(style: str) -> list[tuple[float, str, str]]:
    """Value, colour and label of each entry of a raster's style by a ramp."""
    items = Xml.fromstring(style).iterfind(".//colorrampshader/item")
    return [(float(each.attrib["value"]), each.attrib["color"], each.attrib["label"]) for each in items]


# with QGIS


class Shown:
    """What QGIS has shown."""

    def __init__(self, tasks: list[dict[str, str]], home: Path) -> None:
        script = Path(__file__).with_name("qgis_legends.py")
        clean = {"HOME": str(home), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(home)}
        done = subprocess.run(
            [PYTHON, script],
            input=json.dumps(tasks),
            capture_output=True,
            text=True,
            env=clean,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        self.version = told["version"]
        self._tasks = dict(zip((task["path"] for task in tasks), told["tasks"], strict=True))

    def of(self, path: Path, layer: str = "") -> dict[str, Any]:
        return self._tasks[str(path)][layer]


@pytest.fixture(scope="module")
def shown(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """One start of QGIS for all questions."""
    if (
        not PYTHON.exists()
        or subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"no QGIS for {PYTHON}; Debian has it as python3-qgis")
    home = tmp_path_factory.mktemp("qgis")
    bare = folder / "bare"
    bare.mkdir()
    shutil.copy(folder / "field_classes.tif", bare)
    shutil.copy(folder / "field.gpkg", bare)
    with closing(sqlite3.connect(bare / "field.gpkg")) as package, package:
        package.execute("DELETE FROM layer_styles")
    rasters = [
        {"path": str(path), "picture": str(path.with_suffix(".qgis.png"))} for path in folder.glob("field_*.tif")
    ]
    return Shown(rasters + [{"path": str(path)} for path in (folder / "field.gpkg", *bare.iterdir())], home)


def entries(legend: Legend) -> list[list[str]]:
    return [[entry.name, entry.colour] for entry in legend]


def test_qgis_shows_the_classes_of_a_mask_and_nothing_else(shown: Shown, folder: Path) -> None:
    for name in ("field_classes.tif", "field_clean.tif"):
        found = shown.of(folder / name)
        assert (found["renderer"], found["crs"]) == ("paletted", "EPSG:32632")
        assert found["legend"] == entries(LEGEND)


def test_qgis_shows_the_entries_of_a_ramp_and_nothing_else(shown: Shown, folder: Path) -> None:
    labels = {
        "confidence": ["0", "0.25", "0.5", "0.7, less is doubtful", "0.85", "1, certain"],
        "probabilities": ["0", "0.25", "0.5", "0.75", "1"],
    }
    for name in ("confidence", "probabilities", "severity", "gli"):
        found = shown.of(folder / f"field_{name}.tif")
        assert (found["renderer"], found["crs"]) == ("singlebandpseudocolor", "EPSG:32632")
        written = ramp((folder / f"field_{name}.qml").read_text())
        assert found["legend"] == [[label, colour] for _, colour, label in written]
        assert [label for label, _ in found["legend"]] == labels.get(name, [f"{value:.3g}" for value, *_ in written])


def test_qgis_shows_the_entries_of_each_layer_of_the_geopackage(shown: Shown, folder: Path) -> None:
    package = folder / "field.gpkg"
    layers = {
        "classes": ("categorizedSymbol", entries(LEGEND), None),
        "zones": ("categorizedSymbol", [["zone 1", "#1a9641"], ["zone 2", "#8c510a"]], None),
        "fields": ("singleSymbol", [["fields", "hollow"]], "name"),
        "plots": ("singleSymbol", [["plots", "hollow"]], "name"),
        "scout_points": ("singleSymbol", [["scout_points", "#d55e00"]], "number"),
    }
    for name, expected in layers.items():
        found = shown.of(package, name)
        assert found["crs"] == "EPSG:32632"
        assert (found["renderer"], found["legend"], found["labels"]) == expected


def test_without_the_styles_qgis_would_show_something_else(shown: Shown, folder: Path) -> None:
    assert len(shown.of(folder / "bare" / "field_classes.tif")["legend"]) == 256
    for layer in ("classes", "zones", "fields"):
        found = shown.of(folder / "bare" / "field.gpkg", layer)
        assert (found["renderer"], len(found["legend"]), found["labels"]) == ("singleSymbol", 1, None)
        assert found["legend"] != shown.of(folder / "field.gpkg", layer)["legend"]


def canvas(path: Path) -> np.ndarray:
    """(4, H, W) red, green, blue, alpha of what QGIS has drawn."""
    with Image.open(path.with_suffix(".qgis.png")) as image:
        return np.asarray(image.convert("RGBA")).transpose(2, 0, 1)


def test_qgis_draws_a_mask_in_the_legends_colours(shown: Shown, folder: Path) -> None:
    mask = read(folder / "field_classes.tif")[0]
    table = np.zeros((256, 4), np.uint8)
    table[: len(LEGEND)] = [(*entry.rgb, 255) for entry in LEGEND]
    assert {*np.unique(mask)} == {*range(len(LEGEND)), 255}
    np.testing.assert_array_equal(canvas(folder / "field_classes.tif"), table[mask].transpose(2, 0, 1))


def test_qgis_draws_confidence_between_the_colours_of_its_entries(shown: Shown, folder: Path) -> None:
    """The counts that are stored are shares when they are drawn, of 0.004 each."""
    counts = read(folder / "field_confidence.tif")[0]
    written = ramp((folder / "field_confidence.qml").read_text())
    ends = np.array([list(bytes.fromhex(colour[1:])) for _, colour, _ in written])
    expected = np.stack([np.interp(counts * 0.004, SHARES, channel) for channel in ends.T])
    drawn, known = canvas(folder / "field_confidence.tif"), counts != 255
    assert len(np.unique(counts[known])) >= 10
    assert np.abs(drawn[:3].astype(float) - expected)[:, known].max() <= 1
    np.testing.assert_array_equal(drawn[3], np.where(known, 255, 0))


# without QGIS


def test_confidence_and_probability_get_brighter_for_any_eye() -> None:
    """Relative luminance of WCAG 2.1, which no kind of colour blindness takes away."""
    for style in (run_layer_style(layer, LEGEND) for layer in (CONFIDENCE, PROBABILITIES)):
        rgb = np.array([list(bytes.fromhex(colour[1:])) for _, colour, _ in ramp(style)]) / 255
        luminance = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        assert (np.diff(luminance) > 0.05).all()
