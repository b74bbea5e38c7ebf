"""Read task data of ISO 11783-10 with the standard's own definitions; nothing is shared with the writer.

Source: ISO11783_TaskFile_V3-3 and V4-3 (attributes by letter); ISO 11783-11, DDI 1 and 6; rows from south to north:
isoxml-py, docs/ISOXML_quirks.md.
"""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.machine_files.readers.read_rates import ReadFile, ReadGrid

_DICTIONARY = {1: (0.01, 1e-6, "l/ha"), 6: (1.0, 1e-6, "kg/ha")}
"""DDI to its resolution (mm3/m2, mg/m2), litres of a mm3 or kilograms of a mg, and unit."""
_HECTARE = 1e4  # m2
_CELLS = {"1": ("u1", 1), "2": ("<i4", 4)}
"""Grid type to the type of a cell and its bytes."""


@dataclass(frozen=True)
class _Value:
    """A process data variable: its number as written, its rate per hectare, and the unit."""

    rate: float
    factor: float
    unit: str


def read_taskdata(path: Path) -> ReadFile:
    """Rates, unit and boundary of a zip with task data.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile, Xml.ParseError: it is not what the schema and its texts say.
    """
    with zipfile.ZipFile(path) as archive:
        root = Xml.fromstring(archive.read("TASKDATA/TASKDATA.XML"))  # noqa: S314 (our own)
        task = _only(root, "TSK")
        grid = _only(task, "GRD")
        data = archive.read(f"TASKDATA/{grid.attrib['G']}.bin")
    zones = {int(zone.attrib["A"]): _value(root, _only(zone, "PDV")) for zone in task.iterfind("TZN")}
    for use in "HIJ":
        if zones[int(task.attrib[use])].rate != 0:
            raise ValueError(f"TSK {use} is a zone with a rate above 0")
    cells = _cells(grid, data)
    rates = _rates(grid, cells, zones)
    south, west, up, across = (float(grid.attrib[name]) for name in "ABCD")
    units = {value.unit for value in zones.values()}
    if len(units) > 1:
        raise ValueError(f"zones in {sorted(units)}")
    return ReadFile(ReadGrid(west, south, across, up, rates), units.pop(), _boundary(root, task))


def _only(element: Xml.Element, tag: str) -> Xml.Element:
    found = element.findall(tag)
    if len(found) != 1:
        raise ValueError(f"{len(found)} elements {tag} in {element.tag}, expected one")
    return found[0]


def _value(root: Xml.Element, variable: Xml.Element) -> _Value:
    """A set point, whose presentation must show the same number as the data dictionary."""
    resolution, amount, unit = _DICTIONARY[int(variable.attrib["A"], 16)]
    factor = resolution * amount * _HECTARE
    shown = [each for each in root.iterfind("VPN") if each.attrib["A"] == variable.attrib["E"]]
    if len(shown) != 1 or shown[0].attrib["E"] != unit or shown[0].attrib["B"] != "0":
        raise ValueError(f"values are presented otherwise than in {unit}")
    if not math.isclose(float(shown[0].attrib["C"]), factor, rel_tol=1e-9):
        raise ValueError(f"values are presented times {shown[0].attrib['C']}, expected {factor:g}")
    return _Value(int(variable.attrib["B"]) * factor, factor, unit)


def _cells(grid: Xml.Element, data: bytes) -> NDArray[np.int64]:
    cols, rows = int(grid.attrib["E"]), int(grid.attrib["F"])
    kind, size = _CELLS[grid.attrib["I"]]
    if not len(data) == rows * cols * size == int(grid.attrib["H"]):
        raise ValueError(f"{len(data)} bytes for {rows} x {cols} cells of {size}")
    return np.frombuffer(data, np.dtype(kind)).reshape(rows, cols).astype(np.int64)


def _rates(grid: Xml.Element, cells: NDArray[np.int64], zones: dict[int, _Value]) -> NDArray[np.float64]:
    if grid.attrib["I"] == "2":
        return np.asarray(cells * zones[int(grid.attrib["J"])].factor, np.float64)
    table = np.full(256, np.nan)
    table[list(zones)] = [value.rate for value in zones.values()]
    rates: NDArray[np.float64] = table[cells]
    if np.isnan(rates).any():
        raise ValueError("a cell has a code that no zone has")
    return rates


def _boundary(root: Xml.Element, task: Xml.Element) -> NDArray[np.object_]:
    field = next(each for each in root.iterfind("PFD") if each.attrib["A"] == task.attrib["E"])
    polygons = []
    for polygon in field.iterfind("PLN"):
        rings = [(line.attrib["A"], _points(line)) for line in polygon.iterfind("LSG")]
        outer = [points for kind, points in rings if kind == "1"]
        if len(outer) != 1:
            raise ValueError(f"a polygon has {len(outer)} outer rings")
        polygons.append(shapely.Polygon(outer[0], [points for kind, points in rings if kind == "2"]))
    return np.array(polygons, object)


def _points(line: Xml.Element) -> list[tuple[float, float]]:
    return [(float(point.attrib["D"]), float(point.attrib["C"])) for point in line.iterfind("PNT")]
