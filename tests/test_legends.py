"""Legends: QGIS, where it is, shows the entries of the legend and nothing else; what GeoServer reads says the same."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import rasterio
import shapely
from conftest import blocks, read, write_raster
from PIL import Image
from rasterio.crs import CRS
from test_layers import boundaries

from agriseg import segment
from agriseg.analysis.run import make_layers
from agriseg.demo.reference_models import nearest_level
from agriseg.errors import DataError
from agriseg.export.sld_files import write_slds
from agriseg.legend import Legend
from agriseg.maps.index_maps import IndexOptions, write_indices
from agriseg.options.layers import LayerOptions
from agriseg.raster.qml import confidence_style, probability_style, qgis_style, ramp_style
from agriseg.vectors.features import Features
from agriseg.vectors.qml import categorized_style, graduated_style, outline_style, points_style
from agriseg.vectors.sld import sld_of
from agriseg.vectors.write import write_features
from agriseg.vegetation.formulas import get_index

PYTHON = Path("/usr/bin/python3")
"""Debian's own; its package python3-qgis is for it alone."""
LEGEND = Legend.from_names(["soil", '<b>crop</b> & "so"', "${weed}", "Müller's 田 ]]>"])
SLD = {"": "http://www.opengis.net/sld", "ogc": "http://www.opengis.net/ogc"}
SHARES = [0, 0.25, 0.5, 0.7, 0.85, 1]
BREAKS, GREYS = [0, 12.5, 50, 100], ["#ffffff", "#808080", "#000000"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its layers, an index and their SLDs; a layer by ranges with its style beside it."""
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
    (out / "field_probabilities.qml").write_text(probability_style())
    write_slds(out, "field")
    ranges = Features(
        "ranges",
        shapely.points([[500_000, 5_400_000]]).astype(object),
        {"v": np.ones(1)},
        CRS.from_epsg(32632),
        "Point",
    )
    write_features(
        out / "ranges.fgb", replace(ranges, shapes=shapely.buffer(ranges.shapes, 1), geometry_type="Polygon")
    )
    (out / "ranges.qml").write_text(graduated_style("v", BREAKS, GREYS))
    return out


def parsed(path: Path) -> Xml.Element:
    return Xml.fromstring(path.read_bytes())


def colour_map(root: Xml.Element) -> tuple[str | None, list[tuple[float, str | None, str]]]:
    """The type of an SLD's ColorMap, and the quantity, colour and label of each entry."""
    (found,) = root.iterfind(".//ColorMap", SLD)
    entries = [(float(e.attrib["quantity"]), e.get("color"), e.attrib["label"]) for e in found]
    return found.get("type"), entries


def rules(root: Xml.Element) -> list[tuple[str | None, str | None, str | None, str | None]]:
    """Name, column, value and fill of each rule of an SLD that has filters."""
    places = ("Title", ".//ogc:PropertyName", ".//ogc:Literal", "PolygonSymbolizer/Fill/CssParameter")
    return [tuple(rule.findtext(place, None, SLD) for place in places) for rule in root.iterfind(".//Rule", SLD)]  # type: ignore[misc]


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
        self._tasks = dict(zip((self._key(**task) for task in tasks), told["tasks"], strict=True))

    @staticmethod
    def _key(path: str, sld: str = "", **_: str) -> tuple[str, str]:
        return path, sld

    def of(self, path: Path, layer: str = "", sld: Path | None = None) -> dict[str, Any]:
        return self._tasks[str(path), str(sld or "")][layer]


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
        {"path": str(path), "picture": str(path.with_suffix(".qgis.png")), "export": str(path.with_suffix(".qgis.sld"))}
        for path in folder.glob("field_*.tif")
    ]
    others = [{"path": str(path)} for path in (folder / "field.gpkg", folder / "ranges.fgb", *bare.iterdir())]
    slds = [
        {"path": str(folder / "field.gpkg"), "layer": path.stem.removeprefix("field_gpkg_"), "sld": str(path)}
        for path in folder.glob("field_gpkg_*.sld")
    ]
    return Shown(rasters + others + slds, home)


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
        _, written = colour_map(parsed(folder / f"field_{name}.sld"))
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
    ranges = shown.of(folder / "ranges.fgb", "ranges")
    assert ranges["legend"] == [["0 to 12.5", "#ffffff"], ["12.5 to 50", "#808080"], ["50 to 100", "#000000"]]


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
    _, written = colour_map(parsed(folder / "field_confidence.sld"))
    ends = np.array([list(bytes.fromhex(str(colour)[1:])) for _, colour, _ in written])
    expected = np.stack([np.interp(counts * 0.004, SHARES, channel) for channel in ends.T])
    drawn, known = canvas(folder / "field_confidence.tif"), counts != 255
    assert len(np.unique(counts[known])) >= 10
    assert np.abs(drawn[:3].astype(float) - expected)[:, known].max() <= 1
    np.testing.assert_array_equal(drawn[3], np.where(known, 255, 0))


def test_our_slds_of_rasters_are_those_that_qgis_writes(shown: Shown, folder: Path) -> None:
    for name in ("classes", "clean", "confidence", "probabilities", "severity", "gli"):
        kind, ours = colour_map(parsed(folder / f"field_{name}.sld"))
        its_kind, qgis = colour_map(parsed(folder / f"field_{name}.qgis.sld"))
        assert (kind, len(ours)) == (its_kind, len(qgis))
        for (value, colour, label), (its_value, its_colour, its_label) in zip(ours, qgis, strict=True):
            assert (colour, label.strip()) == (its_colour, its_label)
            assert value == pytest.approx(its_value, rel=1e-14)


def test_qgis_reads_our_slds_of_vectors(shown: Shown, folder: Path) -> None:
    package = folder / "field.gpkg"
    for name in ("classes", "zones", "fields", "plots", "scout_points"):
        own, by_sld = shown.of(package, name), shown.of(package, name, folder / f"field_gpkg_{name}.sld")
        assert by_sld["sld"] == ["", True]
        assert by_sld["labels"] == own["labels"]
        assert [label for label, _ in by_sld["legend"]] == [label for label, _ in own["legend"]]
        if name not in ("fields", "plots"):  # QGIS reads a polygon without a fill as a line with a colour
            assert by_sld["legend"] == own["legend"]


# without QGIS

ORDER = {  # OGC 02-070, annex A: what may be in what, in this order
    "StyledLayerDescriptor": ["NamedLayer"],
    "NamedLayer": ["Name", "UserStyle"],
    "UserStyle": ["Name", "FeatureTypeStyle"],
    "FeatureTypeStyle": ["Rule"],
    "Rule": ["Name", "Title", "ogc:Filter", "PolygonSymbolizer", "PointSymbolizer", "TextSymbolizer", "RasterSymbolizer"],
    "PolygonSymbolizer": ["Fill", "Stroke"],
    "PointSymbolizer": ["Graphic"],
    "Graphic": ["Mark", "Size"],
    "Mark": ["WellKnownName", "Fill", "Stroke"],
    "Fill": ["CssParameter"],
    "Stroke": ["CssParameter"],
    "Font": ["CssParameter"],
    "TextSymbolizer": ["Label", "Font", "LabelPlacement", "Halo", "Fill"],
    "Label": ["ogc:PropertyName"],
    "LabelPlacement": ["PointPlacement"],
    "PointPlacement": ["AnchorPoint", "Displacement"],
    "AnchorPoint": ["AnchorPointX", "AnchorPointY"],
    "Displacement": ["DisplacementX", "DisplacementY"],
    "Halo": ["Radius", "Fill"],
    "RasterSymbolizer": ["ChannelSelection", "ColorMap"],
    "ChannelSelection": ["GrayChannel"],
    "GrayChannel": ["SourceChannelName"],
    "ColorMap": ["ColorMapEntry"],
    "ogc:Filter": ["ogc:PropertyIsEqualTo", "ogc:And"],
    "ogc:And": ["ogc:PropertyIsGreaterThanOrEqualTo", "ogc:PropertyIsGreaterThan", "ogc:PropertyIsLessThanOrEqualTo"],
    **{f"ogc:PropertyIs{how}": ["ogc:PropertyName", "ogc:Literal"] for how in ("EqualTo", "GreaterThan", "GreaterThanOrEqualTo", "LessThanOrEqualTo")},
}  # fmt: skip
REPEATED = {"Rule", "CssParameter", "ColorMapEntry"}
STYLES = {
    "mask": qgis_style(LEGEND),
    "confidence": confidence_style(),
    "probabilities": probability_style(),
    "index": ramp_style(-0.5, 0.9),
    "classes": categorized_style(LEGEND, "class_name"),
    "ranges": graduated_style("severity", BREAKS, GREYS),
    "scout_points": points_style(),
    "fields": outline_style(),
}


def tag(element: Xml.Element) -> str:
    space, _, name = element.tag[1:].partition("}")
    return {SLD[""]: name, SLD["ogc"]: f"ogc:{name}"}[space]


def misplaced(element: Xml.Element) -> Iterator[str]:
    """What the schema does not have there."""
    allowed, names = ORDER.get(tag(element), []), [tag(child) for child in element]
    if any(name not in allowed for name in names) or names != sorted(names, key=allowed.index):
        yield f"{tag(element)} of {names}"
    yield from (f"{name} repeated" for name in {*names} - REPEATED if names.count(name) > 1)
    for child in element:
        yield from misplaced(child)


@pytest.mark.parametrize("name", STYLES)
def test_an_sld_is_built_as_the_schema_wants_it(name: str) -> None:
    root = Xml.fromstring(sld_of(STYLES[name], name))
    assert (root.get("version"), root.findtext("NamedLayer/Name", None, SLD)) == ("1.0.0", name)
    assert list(misplaced(root)) == []
    assert "RasterSymbolizer" in {tag(each) for each in root.iter()} or name in (
        "classes",
        "ranges",
        "scout_points",
        "fields",
    )
    rule = root.find(".//Rule", SLD)
    assert rule is not None
    rule[:] = reversed(rule)
    Xml.SubElement(rule, "{" + SLD[""] + "}Rule")
    assert list(misplaced(root))


def test_the_slds_of_a_map_say_what_its_legend_says(folder: Path) -> None:
    kind, found = colour_map(parsed(folder / "field_classes.sld"))
    names = ["soil", '<b>crop</b> & "so"', " ${weed}", "Müller's 田 ]]>"]  # GeoServer computes what begins with ${
    assert (kind, found) == ("values", [(e.id, e.colour, name) for e, name in zip(LEGEND, names, strict=True)])
    expected = [(entry.name, "class_name", entry.name, entry.colour) for entry in LEGEND]
    assert rules(parsed(folder / "field_gpkg_classes.sld")) == expected
    kind, found = colour_map(parsed(folder / "field_confidence.sld"))
    assert (kind, [value for value, *_ in found]) == ("ramp", SHARES)
    with rasterio.open(folder / "field_confidence.tif") as dataset:
        assert dataset.scales == (0.004,)
        assert dataset.nodata * dataset.scales[0] > SHARES[-1], "no data is no confidence"
    kind, found = colour_map(parsed(folder / "field_gli.sld"))
    assert (kind, found[0][1], found[-1][1]) == ("ramp", "#8c510a", "#1a9641")
    assert get_index("gli").greener
    assert sorted(path.name for path in folder.glob("field_gpkg_*.sld")) == [
        f"field_gpkg_{name}.sld" for name in ("classes", "fields", "plots", "scout_points", "zones")
    ]


def test_the_geopackage_holds_what_the_files_hold(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "field.gpkg")) as package:
        held = dict(package.execute("SELECT f_table_name, styleSLD FROM layer_styles"))
    assert held == {path.stem[11:]: path.read_text() for path in folder.glob("field_gpkg_*.sld")}


def test_only_one_band_of_several_has_the_ramp() -> None:
    for name in ("confidence", "index", "probabilities"):
        assert Xml.fromstring(sld_of(STYLES[name], name)).findtext(".//SourceChannelName", None, SLD) == "1"
    assert "ChannelSelection" not in sld_of(STYLES["mask"], "mask"), "GeoTools takes a palette's alpha for a band"


HOW = {"GreaterThanOrEqualTo": float.__ge__, "GreaterThan": float.__gt__, "LessThanOrEqualTo": float.__le__}


def test_each_number_is_in_one_range_the_lower_one_on_a_break() -> None:
    root = Xml.fromstring(sld_of(STYLES["ranges"], "ranges"))
    filters = [
        [(HOW[tag(each).removeprefix("ogc:PropertyIs")], float(each.findtext("ogc:Literal", "", SLD))) for each in both]
        for both in root.iterfind(".//ogc:And", SLD)
    ]
    for value, expected in ((0.0, 0), (12.0, 0), (12.5, 0), (12.6, 1), (50.0, 1), (51.0, 2), (100.0, 2)):
        assert [k for k, both in enumerate(filters) if all(holds(value, end) for holds, end in both)] == [expected]


def test_confidence_and_probability_get_brighter_for_any_eye() -> None:
    """Relative luminance of WCAG 2.1, which no kind of colour blindness takes away."""
    for style in (confidence_style(), probability_style()):
        _, found = colour_map(Xml.fromstring(sld_of(style, "x")))
        rgb = np.array([list(bytes.fromhex(str(colour)[1:])) for _, colour, _ in found]) / 255
        luminance = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        assert (np.diff(luminance) > 0.05).all()


HEADER = qgis_style(LEGEND).partition("\n")[0] + "\n"
OTHERS = {
    "nothing": "",
    "no QML": "<sld/>",
    "cut": STYLES["mask"][:300],
    "an entity": '<!DOCTYPE qgis [<!ENTITY a "aaaa">]><qgis>&a;</qgis>',
    "an entity in a style that is else ours": HEADER
    + '<!DOCTYPE qgis [<!ENTITY a "aa">]>'
    + STYLES["mask"][len(HEADER) :].replace("soil", "&a;"),
    "no renderer": HEADER + "<qgis/>",
    "a raster that QGIS shades": HEADER + '<qgis><pipe><rasterrenderer type="hillshade" band="1"/></pipe></qgis>',
    "polygons by rules": HEADER + '<qgis><renderer-v2 type="RuleRenderer"/></qgis>',
    "an entry without a label": STYLES["mask"].replace("label=", "title="),
    "a colour that is none": STYLES["fields"].replace("35,35,35,255", "35"),
    "labels without a buffer": STYLES["fields"].replace("text-buffer", "text-blur"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_style_of_another_make_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(DataError, match=r"field_x: its style is not as agriseg writes it \(") as found:
        sld_of(OTHERS[name], "field_x")
    assert "\n" not in str(found.value)
    assert len(str(found.value)) <= 300


def test_slds_are_made_of_this_maps_styles_anew(tmp_path: Path) -> None:
    for name in ("a_classes", "a_confidence", "a_b_classes", "other"):
        (tmp_path / f"{name}.qml").write_text(STYLES["confidence" if name == "a_confidence" else "mask"])
    (tmp_path / "a_notes.qml").write_text("mine")
    (tmp_path / "a_confidence.sld").write_text("what was there before")
    made = write_slds(tmp_path, "a")
    assert made == [tmp_path / "a_classes.sld", tmp_path / "a_confidence.sld"]
    assert [path.read_text() for path in made] == [
        sld_of(STYLES["mask"], "a_classes"), sld_of(STYLES["confidence"], "a_confidence"),
    ]  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 7


def test_styles_of_another_make_leave_no_sld(tmp_path: Path) -> None:
    def package(layer: str) -> Path:
        path = tmp_path / "a.gpkg"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as made, made:
            made.execute("CREATE TABLE layer_styles (id, f_table_name, styleQML, useAsDefault)")
            made.execute("INSERT INTO layer_styles VALUES (1, ?, ?, 1)", (layer, STYLES["fields"]))
        return path

    assert [path.name for path in write_slds(package("fields").parent, "a")] == ["a_gpkg_fields.sld"]
    (tmp_path / "a_gpkg_fields.sld").unlink()
    (tmp_path / "a_classes.qml").write_text(STYLES["mask"])
    package("../x")
    with pytest.raises(DataError, match=r"a.gpkg: its layer '../x' is not one that agriseg writes"):
        write_slds(tmp_path, "a")
    (tmp_path / "a.gpkg").write_text("no package")
    with pytest.raises(DataError, match=r"a.gpkg: its styles cannot be read"):
        write_slds(tmp_path, "a")
    (tmp_path / "a_confidence.qml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a_confidence.qml: a style that is no text"):
        write_slds(tmp_path, "a")
    assert not list(tmp_path.glob("*.sld"))
