"""Styles for GeoServer: Styled Layer Descriptor 1.0.0 (OGC 02-070), made of the style that QGIS has.

A style of agriseg is described once, as QML; what is read here is what agriseg writes and nothing else. The numbers of
a raster's style are those that it stands for (a confidence is 0 to 1, not the count 0 to 250 that is stored): GeoServer
rescales a GeoTIFF as QGIS does, unless told not to (`RESCALE_PIXELS` of GeoTools' AbstractGridFormat; since 2.15).
`type` of a ColorMap is GeoServer's extension.
"""

from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from agriseg.errors import DataError
from agriseg.raster.qml import QML

_PIXEL = 0.28  # mm, the size of a pixel that OGC 02-070 and WMS assume
_POINT = 25.4 / 72  # mm
_SPACES = {"xmlns": "http://www.opengis.net/sld", "xmlns:ogc": "http://www.opengis.net/ogc"}
_COLOUR_MAPS = {"paletted": "values", "singlebandpseudocolor": "ramp"}


def sld_of(style: str, name: str) -> str:
    """What a style of QGIS shows, as GeoServer reads it; to NAME.sld, or into `styleSLD` of a GeoPackage's styles.

    Args:
        style: QML, by `agriseg.raster.qml` or `agriseg.vectors.qml`.
        name: of the layer.

    Raises:
        DataError: not a style that agriseg writes, such as one that was saved by QGIS.
    """
    root = Xml.Element("StyledLayerDescriptor", {**_SPACES, "version": "1.0.0"})
    layer = Xml.SubElement(root, "NamedLayer")
    _text(layer, "Name", name)
    user = Xml.SubElement(layer, "UserStyle")
    _text(user, "Name", name)
    try:
        rules = _rules(_parsed(style))
        Xml.SubElement(user, "FeatureTypeStyle").extend(rules)
    except (Xml.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{name}: its style is not as agriseg writes it ({error}); save an SLD with QGIS") from error
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _parsed(style: str) -> Xml.Element:
    """The root; what could declare entities is not parsed."""
    body = style.removeprefix(QML)
    if len(body) == len(style) or "<!" in body:
        raise ValueError("another document type")
    return Xml.fromstring(body)  # noqa: S314 (no document types)


def _rules(root: Xml.Element) -> list[Xml.Element]:
    raster, vector = root.find("pipe/rasterrenderer"), root.find("renderer-v2")
    if raster is not None:
        return [_raster(raster)]
    if vector is None:
        raise ValueError("no renderer")
    rules = list(_vector(vector))
    for rule in rules:
        rule.extend([_label(settings) for settings in root.iterfind("labeling/settings")])
    return rules


def _raster(renderer: Xml.Element) -> Xml.Element:
    """Classes by their ids, or a ramp between numbers."""
    kind, rule = _COLOUR_MAPS[renderer.attrib["type"]], Xml.Element("Rule")
    symbolizer = Xml.SubElement(rule, "RasterSymbolizer")
    if kind == "ramp":  # maybe of several bands; a mask has one, and GeoTools would add its palette's alpha as another
        channel = Xml.SubElement(Xml.SubElement(symbolizer, "ChannelSelection"), "GrayChannel")
        _text(channel, "SourceChannelName", renderer.attrib["band"])
    colours = Xml.SubElement(symbolizer, "ColorMap", type=kind)
    for entry in renderer.iter("paletteEntry" if kind == "values" else "item"):
        value, label = entry.attrib["value"], entry.attrib["label"]
        shown = f" {label}" if label.startswith("${") else label  # which GeoServer would compute
        Xml.SubElement(colours, "ColorMapEntry", color=entry.attrib["color"], quantity=value, label=shown, opacity="1")
    return rule


def _vector(renderer: Xml.Element) -> Iterator[Xml.Element]:
    """A rule for each class, for each range, or for all features."""
    kind, column = renderer.attrib["type"], renderer.get("attr", "")
    symbols = {each.attrib["name"]: each for each in renderer.iter("symbol")}
    if kind == "categorizedSymbol":
        for each in renderer.iter("category"):
            rule = _rule(each.attrib["label"])
            _compare(Xml.SubElement(rule, "ogc:Filter"), "EqualTo", column, each.attrib["value"])
            rule.append(_symbolizer(symbols[each.attrib["symbol"]]))
            yield rule
    elif kind == "graduatedSymbol":
        above = "GreaterThanOrEqualTo"  # the lowest range has its lower end too
        for each in renderer.iter("range"):
            rule = _rule(each.attrib["label"])
            both = Xml.SubElement(Xml.SubElement(rule, "ogc:Filter"), "ogc:And")
            _compare(both, above, column, each.attrib["lower"])
            _compare(both, "LessThanOrEqualTo", column, each.attrib["upper"])
            rule.append(_symbolizer(symbols[each.attrib["symbol"]]))
            above = "GreaterThan"
            yield rule
    elif kind == "singleSymbol":
        rule = Xml.Element("Rule")
        rule.append(_symbolizer(symbols["0"]))
        yield rule
    else:
        raise ValueError(f"renderer {kind[:40]}")


def _rule(title: str) -> Xml.Element:
    """A rule by its name, which QGIS shows, and its title, which GeoServer shows."""
    rule = Xml.Element("Rule")
    _text(rule, "Name", title)
    _text(rule, "Title", title)
    return rule


def _compare(parent: Xml.Element, how: str, column: str, value: str) -> None:
    comparison = Xml.SubElement(parent, f"ogc:PropertyIs{how}")
    _text(comparison, "ogc:PropertyName", column)
    _text(comparison, "ogc:Literal", value)


def _symbolizer(symbol: Xml.Element) -> Xml.Element:
    """A polygon or a round mark, with its line."""
    look = {each.attrib["name"]: each.attrib["value"] for each in symbol.iter("Option") if "name" in each.attrib}
    if symbol.attrib["type"] == "marker":
        found = Xml.Element("PointSymbolizer")
        graphic = Xml.SubElement(found, "Graphic")
        mark = Xml.SubElement(graphic, "Mark")
        _text(mark, "WellKnownName", look["name"])
        _text(graphic, "Size", _pixels(look["size"]))
    else:
        found = mark = Xml.Element("PolygonSymbolizer")
    if look.get("style") != "no":
        _css(Xml.SubElement(mark, "Fill"), {"fill": _hex(look["color"])})
    line = {"stroke": _hex(look["outline_color"]), "stroke-width": _pixels(look["outline_width"])}
    _css(Xml.SubElement(mark, "Stroke"), line)
    return found


def _label(settings: Xml.Element) -> Xml.Element:
    """What a column holds, in the middle of a polygon or above a point."""
    font, buffer, place = (_only(settings, path) for path in ("text-style", "text-style/text-buffer", "placement"))
    found = Xml.Element("TextSymbolizer")
    _text(Xml.SubElement(found, "Label"), "ogc:PropertyName", font["fieldName"])
    size = f"{float(font['fontSize']) * _POINT / _PIXEL:.2f}"
    _css(Xml.SubElement(found, "Font"), {"font-family": "SansSerif", "font-size": size, "font-weight": "bold"})
    spot = Xml.SubElement(Xml.SubElement(found, "LabelPlacement"), "PointPlacement")
    above = place["placement"] == "6"
    for pair, x, y in (("AnchorPoint", "0.5", "0" if above else "0.5"), ("Displacement", "0", "8" if above else "0")):
        both = Xml.SubElement(spot, pair)
        _text(both, f"{pair}X", x)
        _text(both, f"{pair}Y", y)
    halo = Xml.SubElement(found, "Halo")
    _text(halo, "Radius", _pixels(buffer["bufferSize"]))
    _css(Xml.SubElement(halo, "Fill"), {"fill": _hex(buffer["bufferColor"])})
    _css(Xml.SubElement(found, "Fill"), {"fill": _hex(font["textColor"])})
    return found


def _only(parent: Xml.Element, path: str) -> dict[str, str]:
    """Attributes of an element that must be there."""
    found = parent.find(path)
    if found is None:
        raise ValueError(f"no {path}")
    return found.attrib


def _text(parent: Xml.Element, tag: str, text: str) -> None:
    Xml.SubElement(parent, tag).text = text


def _css(parent: Xml.Element, values: dict[str, str]) -> None:
    for name, value in values.items():
        Xml.SubElement(parent, "CssParameter", name=name).text = value


def _pixels(mm: str) -> str:
    return f"{float(mm) / _PIXEL:.2f}"


def _hex(colour: str) -> str:
    """`#rrggbb` of QGIS's red, green, blue, alpha."""
    return "#{:02x}{:02x}{:02x}".format(*map(int, colour.split(",")[:3]))
