"""Legends that desktop GIS read by themselves: the PAM file (.aux.xml) and QGIS's style (.qml)."""

from xml.etree import ElementTree as Xml

from agriseg.legend import Legend


def category_names(legend: Legend) -> str:
    """GDAL's .aux.xml, goes to NAME.tif.aux.xml: class names for gdalinfo, ArcGIS and QGIS."""
    root = Xml.Element("PAMDataset")
    names = Xml.SubElement(Xml.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for entry in legend:
        Xml.SubElement(names, "Category").text = entry.name
    return Xml.tostring(root, encoding="unicode") + "\n"


def qgis_style(legend: Legend) -> str:
    """QGIS's layer style, goes to NAME.qml: exactly the legend's entries instead of 256 numbers."""
    root = Xml.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = Xml.SubElement(
        Xml.SubElement(root, "pipe"), "rasterrenderer",
        type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor="",
    )  # fmt: skip
    Xml.SubElement(renderer, "rasterTransparency")
    palette = Xml.SubElement(renderer, "colorPalette")
    for entry in legend:
        Xml.SubElement(palette, "paletteEntry", value=str(entry.id), color=entry.colour, alpha="255", label=entry.name)
    header = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    return header + Xml.tostring(root, encoding="unicode") + "\n"
