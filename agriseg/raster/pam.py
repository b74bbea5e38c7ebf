"""GDAL's sidecar `.aux.xml` (PAM): what it says of a raster, apart from the statistics that viewers keep in it."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from xml.etree import ElementTree as Xml

PAM = ".aux.xml"
"""Goes behind the whole name of a raster."""
_NUMBERS = ("GeoTransform", "NoDataValue", "Scale", "Offset")
_HOLDERS = ("PAMDataset", "PAMRasterBand", "Metadata", "CategoryNames")  # say nothing when they are empty
_STORAGE = ("IMAGE_STRUCTURE", "Esri")  # domains of how a file is stored, which GDAL and ArcGIS add of themselves
_TOLD_APART = ("band", "domain", "key")  # attributes by which elements of one name differ, in whatever order


def meaning(data: bytes, own: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """What decides how a raster is read: CRS, transform, nodata, scale, masks, names and the like.

    `gdalinfo -stats`, `gdalinfo -hist` and QGIS write statistics and histograms when they only look; those are left
    out, with what they say of how the file is stored. GDAL writes the whole file again when it adds them, so the
    spelling of numbers and the order of elements are left out too.

    Args:
        data: the file.
        own: names of bands, by number, as the raster itself has them; GDAL repeats them beside it.

    Returns:
        One line for each thing that it says; empty if there is nothing else in it. What is no XML counts as it is.
    """
    if b"<!" in data:  # entities can make a small file a large one; GDAL writes none
        return data
    try:
        return "\n".join(_lines(Xml.fromstring(data), "", own)).encode()  # noqa: S314
    except (Xml.ParseError, ValueError, LookupError, RecursionError):  # an encoding that nobody knows: LookupError
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
    for child in sorted(element, key=lambda each: (each.tag, *(each.get(name, "") for name in _TOLD_APART))):
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
