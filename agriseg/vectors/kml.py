"""KML without GDAL, whose drivers drop a second hole, a second polygon and links.

Placemarks of all folders are one layer. Links are not opened.
Source: OGC 12-007r2, KML 2.3, sections 9.11 (Placemark) and 10.8 (Polygon).
"""

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import shapely

from agriseg.errors import DataError
from agriseg.vectors.features import LONLAT, Features, check_count
from agriseg.vectors.safe_xml import parsed_xml

_SHAPES = ("Polygon", "Point", "LineString", "LinearRing", "Model", "Track", "MultiTrack")


def read_kml(path: Path) -> Features:
    """Read all placemarks: their shapes, `Name`, `description` and extended data as columns of text.

    Raises:
        DataError: damaged, no KML, linked to other files, with too many features, or with an invalid shape.
    """
    root = parsed_xml(path, "KML")
    if _tag(root) != "kml":
        raise DataError(f"{path}: is no KML, its first element is {_tag(root)[:40]}; export the layer again")
    if root.find(".//{*}NetworkLink") is not None:
        raise DataError(f"{path}: links to other files, which are not followed; save the fields themselves as KML")
    placemarks = root.findall(".//{*}Placemark")
    check_count(path, len(placemarks))
    shapes = np.empty(len(placemarks), object)
    for number, placemark in enumerate(placemarks, 1):
        try:
            shapes[number - 1] = _shape(placemark)
        except (ValueError, shapely.errors.ShapelyError) as error:
            raise DataError(f"{path}: feature {number} is no polygon ({error}); draw it again") from error
    rows = [_values(placemark) for placemark in placemarks]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: np.array([row.get(name) for row in rows], object) for name in names}
    return Features(path.stem, shapes, columns, LONLAT, "Unknown")


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _shape(placemark: Element) -> shapely.Geometry | None:
    """One shape, or the collection of several; None without any."""
    rings = {
        id(ring) for polygon in placemark.iterfind(".//{*}Polygon") for ring in polygon.iterfind(".//{*}LinearRing")
    }
    parts = [_part(each) for each in placemark.iter() if _tag(each) in _SHAPES and id(each) not in rings]
    if len(parts) > 1 and all(part.geom_type == "Polygon" for part in parts):
        return shapely.MultiPolygon(parts)
    return shapely.GeometryCollection(parts) if len(parts) > 1 else next(iter(parts), None)


def _part(element: Element) -> shapely.Geometry:
    if _tag(element) == "Polygon":
        (shell,) = element.findall("{*}outerBoundaryIs/{*}LinearRing")
        holes = element.findall("{*}innerBoundaryIs/{*}LinearRing")
        return shapely.Polygon(_positions(shell), [_positions(hole) for hole in holes])
    if _tag(element) == "Point":
        return shapely.Point(_positions(element))
    if _tag(element) in ("LineString", "LinearRing"):
        return shapely.LineString(_positions(element))
    raise ValueError(f"a {_tag(element)}")


def _positions(element: Element) -> list[tuple[float, float]]:
    """Longitude and latitude in degrees; heights are left out."""
    text = element.findtext("{*}coordinates") or ""
    return [(float(lon), float(lat)) for lon, lat, *_ in (position.split(",") for position in text.split())]


def _values(placemark: Element) -> dict[str, str | None]:
    named = {"Name": placemark.findtext("{*}name"), "description": placemark.findtext("{*}description")}
    data = {each.get("name", ""): each.findtext("{*}value") for each in placemark.iterfind("{*}ExtendedData/{*}Data")}
    simple = placemark.iterfind("{*}ExtendedData/{*}SchemaData/{*}SimpleData")
    return named | data | {each.get("name", ""): each.text for each in simple}
