"""GDAL's sidecar `.aux.xml` (PAM): its meaning for a raster, apart from the statistics that viewers keep in it."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from xml.etree import ElementTree as Xml

PAM = ".aux.xml"
"""Follows the whole name of a raster."""
_NUMBERS = ("GeoTransform", "NoDataValue", "Scale", "Offset")
_HOLDERS = ("PAMDataset", "PAMRasterBand", "Metadata", "CategoryNames")  # mean nothing when they are empty
_STORAGE = ("IMAGE_STRUCTURE", "Esri")  # domains of how a file is stored, which GDAL and ArcGIS add of themselves
_SORT_KEYS = ("band", "domain", "key")  # attributes by which elements of one name differ


def meaning(data: bytes, own: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """What decides how a raster is read: CRS, transform, nodata, scale, masks, names and the like.

    `gdalinfo -stats`, `gdalinfo -hist` and QGIS add statistics, histograms and how the file is stored when they only
    read a raster; those are left out. GDAL then writes the whole file again, so the spelling of numbers and the order
    of elements are left out too. `own` is the names of bands, by number, in the raster itself; GDAL repeats them.

    Returns:
        One line for each element; empty if nothing is left. What is no XML stays as it is.
    """
    if b"<!" in data:  # entities can make a small file a large one; GDAL writes none
        return data
    try:
        return "\n".join(_lines(Xml.fromstring(data), "", own)).encode()  # noqa: S314
    except (Xml.ParseError, ValueError, LookupError, RecursionError):  # LookupError: an unknown encoding
        return data


def _lines(element: Xml.Element, above: str, own: Mapping[str, str]) -> Iterator[str]:
    if element.tag == "Histograms" or element.get("key", "").startswith("STATISTICS_"):
        return
    if element.get("domain") in _STORAGE:
        return
    attributes = sorted((name, value) for name, value in element.items() if name != "le_hex_equiv")
    here = f"{above}/{element.tag}{attributes if attributes else ''}"
    if not len(element) and (element.tag not in _HOLDERS or _text(element)):
        yield f"{here}={_text(element)}"
    for child in sorted(element, key=lambda each: (each.tag, *(each.get(name, "") for name in _SORT_KEYS))):
        if child.tag != "Description" or own.get(element.get("band", "")) != child.text:
            yield from _lines(child, here, own)


def _text(element: Xml.Element) -> str:
    """Numbers and spaces in one spelling."""
    text = " ".join((element.text or "").split())
    if element.tag not in _NUMBERS:
        return text
    try:
        return ",".join(repr(float(part)) for part in text.split(","))
    except ValueError:
        return text
