"""Legends that desktop GIS read by themselves: the PAM file (.aux.xml) and QGIS's style (.qml)."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
from rasterio.crs import CRS

from agriseg.legend import DOUBTFUL, Legend
from agriseg.raster.georeference import Georeference
from agriseg.raster.pam import PAM
from agriseg.run_layers import RunLayer

QML = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
"""Begins a style of QGIS."""

# Brewer 2003, ColorBrewer 2.0: the brown of BrBG, the yellow and the greens of RdYlGn.
_RAMP = ("#8c510a", "#d8b365", "#ffffbf", "#a6d96a", "#1a9641")
_GLOW = ("#7a0440", "#fff4be")  # as in the quick looks: the brighter the higher, for any colour vision
_SHARES = {0.0: "0", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1"}
_CONFIDENCE = {
    0.0: "0", 0.25: "0.25", 0.5: "0.5", DOUBTFUL: f"{DOUBTFUL:g}, less is doubtful", 0.85: "0.85", 1.0: "1, certain",
}  # fmt: skip


def where_it_lies(place: Georeference) -> str:
    """GDAL's .aux.xml, goes to NAME.tif.aux.xml: a CRS that has no GeoTIFF key, with points that use it."""
    root, crs = Xml.Element("PAMDataset"), (place.gcp_crs if place.gcps else place.crs) or CRS()
    wkt = crs.to_wkt(version="WKT2_2019")
    if not place.gcps:
        Xml.SubElement(root, "SRS").text = wkt
    points = Xml.SubElement(root, "GCPList", Projection=wkt) if place.gcps else root
    for point in place.gcps:
        numbers = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
        Xml.SubElement(points, "GCP", {"Id": point.id or "", **{name: repr(float(v)) for name, v in numbers.items()}})
    return Xml.tostring(root, encoding="unicode") + "\n"


def category_names(legend: Legend, raster: Path) -> str:
    """GDAL's .aux.xml, goes to NAME.tif.aux.xml: class names for gdalinfo, ArcGIS and QGIS, after what is there."""
    there = raster.with_name(f"{raster.name}{PAM}")
    root = Xml.fromstring(there.read_bytes()) if there.exists() else Xml.Element("PAMDataset")  # noqa: S314 (our own)
    names = Xml.SubElement(Xml.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for entry in legend:
        Xml.SubElement(names, "Category").text = entry.name
    return Xml.tostring(root, encoding="unicode") + "\n"


def qgis_style(legend: Legend) -> str:
    """QGIS's layer style, goes to NAME.qml: exactly the legend's entries instead of 256 numbers."""
    root, renderer = _renderer("paletted")
    palette = Xml.SubElement(renderer, "colorPalette")
    for entry in legend:
        Xml.SubElement(palette, "paletteEntry", value=str(entry.id), color=entry.colour, alpha="255", label=entry.name)
    return _document(root)


def run_layer_style(layer: RunLayer, legend: Legend) -> str:
    """QGIS's layer style of a layer of a run, goes to NAME.qml; of the probabilities, for band 1, the first class.

    Confidence and probability are 0 to 1, dark to bright, not the counts stored: QGIS multiplies by the file's scale.
    """
    if layer.style == "palette":
        return qgis_style(legend)
    labels = _CONFIDENCE if layer.style == "confidence" else _SHARES
    return _ramp(list(labels), _mixed(_GLOW, list(labels)), list(labels.values()))


def ramp_style(low: float, high: float, *, greener: bool = True) -> str:
    """QGIS's layer style of a single band of numbers, goes to NAME.qml: brown over yellow to green.

    Args:
        low, high: numbers of the ends; what lies beyond has their colours.
        greener: whether `high` is green; else `low` is.
    """
    if high <= low:  # QGIS cannot spread colours over nothing
        high = low + max(abs(low), 1.0) * 1e-3
    values = np.linspace(low, high, len(_RAMP)).tolist()
    return _ramp(values, _RAMP if greener else _RAMP[::-1], [f"{value:.3g}" for value in values])


def ramp_colours(count: int, *, greener: bool = True) -> list[str]:
    """Colours `#rrggbb` of as many steps from low to high, brown over yellow to green; the other way if not greener."""
    return _mixed(_RAMP if greener else _RAMP[::-1], np.linspace(0, 1, count).tolist())


def _mixed(colours: Sequence[str], places: Sequence[float]) -> list[str]:
    """Colours `#rrggbb` at places 0 to 1 along evenly spread ones."""
    ends = np.array([list(bytes.fromhex(colour[1:])) for colour in colours])
    spread = np.linspace(0, 1, len(colours))
    mixed = np.stack([np.interp(places, spread, channel) for channel in ends.T], axis=1)
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in mixed.round().astype(int)]


def _ramp(values: Sequence[float], colours: Sequence[str], labels: Sequence[str]) -> str:
    """Band 1 in colours that run from each ascending value to the next; the legend shows these alone."""
    root, renderer = _renderer("singlebandpseudocolor")
    low, high = repr(values[0]), repr(values[-1])
    renderer.set("classificationMin", low)
    renderer.set("classificationMax", high)
    shader = Xml.SubElement(
        Xml.SubElement(renderer, "rastershader"), "colorrampshader",
        colorRampType="INTERPOLATED", classificationMode="2", clip="0", minimumValue=low, maximumValue=high,
    )  # fmt: skip
    for value, colour, label in zip(values, colours, labels, strict=True):
        Xml.SubElement(shader, "item", value=repr(value), color=colour, alpha="255", label=label)
    Xml.SubElement(shader, "rampLegendSettings", useContinuousLegend="0")  # else a bar with its two ends
    return _document(root)


def _renderer(kind: str) -> tuple[Xml.Element, Xml.Element]:
    """The root of a style, and in it how band 1 is drawn."""
    root = Xml.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = Xml.SubElement(
        Xml.SubElement(root, "pipe"), "rasterrenderer",
        type=kind, band="1", opacity="1", alphaBand="-1", nodataColor="",
    )  # fmt: skip
    Xml.SubElement(renderer, "rasterTransparency")
    return root, renderer


def _document(root: Xml.Element) -> str:
    return QML + Xml.tostring(root, encoding="unicode") + "\n"
