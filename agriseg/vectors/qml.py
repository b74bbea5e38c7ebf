"""Styles of vector layers for QGIS (3.18 and later): by class, outlines or points.

A style is a QML text, stored in NAME.qml beside a file, or in the table `layer_styles` of a GeoPackage.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

import numpy as np

from agriseg.legend import Legend
from agriseg.raster.qml import QML

_DARK, _WHITE, _RED = "35,35,35,255", "255,255,255,255", "213,94,0,255"
_POINT, _POLYGON = 0, 2  # QGIS's numbers of geometry types
_RANGES = 9
_HORIZONTAL, _AROUND = 4, 6  # QGIS's numbers of placements of a label: within a polygon, around a point


def categorized_style(legend: Legend, column: str) -> str:
    """Polygons in the legend's colours; `column` holds class names."""
    root, renderer = _style("categorizedSymbol", _POLYGON, attr=column)
    categories, symbols = Xml.SubElement(renderer, "categories"), Xml.SubElement(renderer, "symbols")
    for entry in legend:
        key = str(entry.id)
        Xml.SubElement(categories, "category", value=entry.name, label=entry.name, symbol=key, render="true")
        _fill(symbols, key, entry.colour)
    return _text(root)


def graduated_style(column: str, values: Sequence[float], unit: str) -> str:
    """Polygons from white, for 0, to blue; at most 9 ranges of the sorted values in `column`."""
    root, renderer = _style("graduatedSymbol", _POLYGON, attr=column, graduatedMethod="GraduatedColor")
    ranges, symbols = Xml.SubElement(renderer, "ranges"), Xml.SubElement(renderer, "symbols")
    for number, part in enumerate(np.array_split(np.asarray(values), min(len(values), _RANGES))):
        low, high = float(part[0]), float(part[-1])
        label = f"{low:.4g} {unit}" if low == high else f"{low:.4g} to {high:.4g} {unit}"
        key, limits = str(number), {"lower": f"{low:.15f}", "upper": f"{high:.15f}"}
        Xml.SubElement(ranges, "range", limits | {"label": label, "symbol": key, "render": "true"})
        _fill(symbols, key, _blue(high / max(values[-1], 1e-9)))
    return _text(root)


def _blue(share: float) -> str:
    """White for 0; else a blue, the darker the more."""
    if share <= 0:
        return "#ffffff"
    light, dark = (198, 219, 239), (8, 48, 107)
    return "#" + bytes(round(a + (b - a) * share) for a, b in zip(light, dark, strict=True)).hex()


def points_style(column: str = "number") -> str:
    """Points with their number beside them."""
    root, renderer = _style("singleSymbol", _POINT)
    properties = {
        "name": "circle", "size": "3.5", "size_unit": "MM", "color": _RED, "outline_color": _WHITE,
        "outline_width": "0.4", "outline_width_unit": "MM", "outline_style": "solid",
    }  # fmt: skip
    _symbol(Xml.SubElement(renderer, "symbols"), "0", "marker", "SimpleMarker", properties)
    _label(root, column, _AROUND)
    return _text(root)


def outline_style(column: str = "name") -> str:
    """Outlines without filling, each with its name."""
    root, renderer = _style("singleSymbol", _POLYGON)
    properties = {"style": "no", "outline_color": _DARK, "outline_style": "solid", "outline_width": "0.5"}
    _symbol(Xml.SubElement(renderer, "symbols"), "0", "fill", "SimpleFill", properties | {"outline_width_unit": "MM"})
    _label(root, column, _HORIZONTAL)
    return _text(root)


def _style(renderer: str, geometry: int, **attributes: str) -> tuple[Xml.Element, Xml.Element]:
    root = Xml.Element("qgis", version="3.22.0", styleCategories="Symbology|Labeling", labelsEnabled="0")
    plain = {"type": renderer, "forceraster": "0", "symbollevels": "0", "enableorderby": "0"}
    element = Xml.SubElement(root, "renderer-v2", plain | attributes)
    Xml.SubElement(root, "layerGeometryType").text = str(geometry)
    return root, element


def _fill(symbols: Xml.Element, name: str, colour: str) -> None:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    properties = {
        "color": f"{red},{green},{blue},255", "style": "solid", "outline_color": _DARK, "outline_style": "solid",
        "outline_width": "0.1", "outline_width_unit": "MM",
    }  # fmt: skip
    _symbol(symbols, name, "fill", "SimpleFill", properties)


def _label(root: Xml.Element, column: str, placement: int) -> None:
    """Show the text of a column beside each feature or within it."""
    root.set("labelsEnabled", "1")
    settings = Xml.SubElement(Xml.SubElement(root, "labeling", type="simple"), "settings", calloutType="simple")
    text = Xml.SubElement(
        settings, "text-style", fieldName=column, isExpression="0", fontSize="11", fontSizeUnit="Point",
        fontWeight="75", textColor=_DARK, textOpacity="1",
    )  # fmt: skip
    Xml.SubElement(
        text, "text-buffer", bufferDraw="1", bufferSize="1", bufferSizeUnits="MM", bufferColor=_WHITE,
        bufferOpacity="1", bufferNoFill="1",
    )  # fmt: skip
    Xml.SubElement(settings, "placement", placement=str(placement), dist="1", distUnits="MM", priority="5")
    crowded = "1" if placement == _AROUND else "0"  # a point's number is shown in any case; a name where it has room
    Xml.SubElement(settings, "rendering", displayAll=crowded, scaleVisibility="0", obstacle="1")


def _symbol(symbols: Xml.Element, name: str, kind: str, layer: str, properties: dict[str, str]) -> None:
    symbol = Xml.SubElement(symbols, "symbol", name=name, type=kind, alpha="1", clip_to_extent="1", force_rhr="0")
    options = Xml.SubElement(
        Xml.SubElement(symbol, "layer", {"class": layer, "enabled": "1", "pass": "0", "locked": "0"}), "Option",
        type="Map",
    )  # fmt: skip
    for key, value in properties.items():
        Xml.SubElement(options, "Option", name=key, type="QString", value=value)


def _text(root: Xml.Element) -> str:
    return QML + Xml.tostring(root, encoding="unicode") + "\n"
