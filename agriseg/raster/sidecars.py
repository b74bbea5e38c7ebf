"""Legends that desktop GIS read by themselves: the PAM file (.aux.xml) and QGIS's style (.qml)."""

from xml.etree import ElementTree as Xml

import numpy as np

from agriseg.legend import Legend

# Brewer 2003, ColorBrewer 2.0: the brown of BrBG, the yellow and the greens of RdYlGn.
_RAMP = ("#8c510a", "#d8b365", "#ffffbf", "#a6d96a", "#1a9641")


def category_names(legend: Legend) -> str:
    """GDAL's .aux.xml, goes to NAME.tif.aux.xml: class names for gdalinfo, ArcGIS and QGIS."""
    root = Xml.Element("PAMDataset")
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


def ramp_style(low: float, high: float, *, greener: bool = True) -> str:
    """QGIS's layer style of a single band of numbers, goes to NAME.qml: brown over yellow to green.

    Args:
        low, high: numbers of the ends; what lies beyond has their colours.
        greener: whether `high` is green; else `low` is.
    """
    if high <= low:  # QGIS cannot spread colours over nothing
        high = low + max(abs(low), 1.0) * 1e-3
    root, renderer = _renderer("singlebandpseudocolor")
    renderer.set("classificationMin", repr(low))
    renderer.set("classificationMax", repr(high))
    shader = Xml.SubElement(
        Xml.SubElement(renderer, "rastershader"), "colorrampshader",
        colorRampType="INTERPOLATED", classificationMode="2", clip="0", minimumValue=repr(low), maximumValue=repr(high),
    )  # fmt: skip
    colours = _RAMP if greener else _RAMP[::-1]
    for value, colour in zip(np.linspace(low, high, len(colours)).tolist(), colours, strict=True):
        Xml.SubElement(shader, "item", value=repr(value), color=colour, alpha="255", label=f"{value:.3g}")
    return _document(root)


def ramp_colours(count: int, *, greener: bool = True) -> list[str]:
    """Colours `#rrggbb` of as many steps from low to high, brown over yellow to green; the other way if not greener."""
    ends = np.array([list(bytes.fromhex(colour[1:])) for colour in (_RAMP if greener else _RAMP[::-1])])
    place = np.linspace(0, len(_RAMP) - 1, count)
    mixed = np.stack([np.interp(place, np.arange(len(_RAMP)), channel) for channel in ends.T], axis=1)
    return ["#{:02x}{:02x}{:02x}".format(*colour) for colour in mixed.round().astype(int)]


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
    header = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return header + Xml.tostring(root, encoding="unicode") + "\n"
