"""Task data of ISO 11783-10: a task with a grid of rates, for terminals of tractors.

Outside the field, without a position and by default the zone of rate 0 holds.
Sources: the published schemas ISO11783_TaskFile_V3-3 (2013-03-25) and V4-3 (2018-06-04); ISO 11783-11, DDI 1 and 6.
"""

from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.machine_files.archive import write_archive
from agriseg.machine_files.fit import Fitted
from agriseg.machine_files.ground import polygon_areas
from agriseg.machine_files.prescription import Prescription, RateUnit
from agriseg.machine_files.profiles import MachineProfile

_DDI = {RateUnit.LITRES: "0001", RateUnit.KILOGRAMS: "0006"}  # set points of volume and of mass per area
_PER_UNIT = {RateUnit.LITRES: 10_000, RateUnit.KILOGRAMS: 100}  # counts of 0.01 mm3/m2, of 1 mg/m2
_DECIMALS = 9  # of degrees in the schema of version 4
_GRID = "GRD00001"
_NOTHING, _VALUES = 0, 1  # codes of the zone of rate 0, and of the one that says what the cells of type 2 hold
_PLANNED, _FIELD_BOUNDARY, _EXTERIOR, _INTERIOR, _OTHER_POINT = "1", "1", "1", "2", "2"


def write_taskdata(item: Fitted, profile: MachineProfile, path: Path) -> None:
    """Write a zip with `TASKDATA/TASKDATA.XML` and the grid beside it."""
    prescription = item.prescription
    codes, rates = _codes(prescription) if profile.grid_type == 1 else (None, np.zeros(2))
    cells = _counts(prescription, prescription.rates).astype("<i4") if codes is None else codes
    data = cells[::-1].tobytes()  # rows from south to north
    root = _task_file(prescription, profile)
    task = root.find("TSK")
    assert task is not None  # noqa: S101 (made above)
    for code, rate in enumerate(rates):
        _zone(task, code, prescription, float(rate))
    _grid(task, prescription, profile, len(data))
    text = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    write_archive(path, {"TASKDATA/TASKDATA.XML": text, f"TASKDATA/{_GRID}.bin": data})


def _codes(prescription: Prescription) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """(rows, cols) codes of zones, and the rate of each code; code 0 is rate 0."""
    values = np.unique(np.append(prescription.rates.ravel(), 0.0))
    return np.searchsorted(values, prescription.rates).astype(np.uint8), values


def _counts(prescription: Prescription, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(rates * _PER_UNIT[prescription.unit])


def _task_file(prescription: Prescription, profile: MachineProfile) -> Xml.Element:
    """Everything but the zones and the grid."""
    longest = profile.limits.text_length
    name = prescription.name[:longest]
    root = Xml.Element(
        "ISO11783_TaskData", VersionMajor=str(profile.version), VersionMinor="3", DataTransferOrigin="1",
        ManagementSoftwareManufacturer="agriseg", ManagementSoftwareVersion=version("agriseg")[:longest],
    )  # fmt: skip
    Xml.SubElement(root, "CTR", A="CTR1", B="Customer")
    Xml.SubElement(root, "FRM", A="FRM1", B="Farm", I="CTR1")
    area = float(polygon_areas(np.array(prescription.boundary.geoms, object)).sum())
    field = Xml.SubElement(root, "PFD", A="PFD1", C=name, D=str(round(area)), E="CTR1", F="FRM1")
    for polygon in prescription.boundary.geoms:
        _polygon(field, polygon)
    Xml.SubElement(root, "PDT", A="PDT1", B=(prescription.product or "Product")[:longest])
    unit = prescription.unit
    places = len(str(_PER_UNIT[unit])) - 1
    Xml.SubElement(root, "VPN", A="VPN1", B="0", C=f"{1 / _PER_UNIT[unit]:.{places}f}", D=str(places), E=unit.value)
    nothing = str(_NOTHING)
    Xml.SubElement(
        root, "TSK", A="TSK1", B=name, C="CTR1", D="FRM1", E="PFD1", G=_PLANNED, H=nothing, I=nothing, J=nothing
    )
    return root


def _polygon(field: Xml.Element, polygon: shapely.Polygon) -> None:
    element = Xml.SubElement(field, "PLN", A=_FIELD_BOUNDARY)
    for number, ring in enumerate((polygon.exterior, *polygon.interiors)):
        line = Xml.SubElement(element, "LSG", A=_INTERIOR if number else _EXTERIOR)
        for east, north in ring.coords:
            Xml.SubElement(line, "PNT", A=_OTHER_POINT, C=_degrees(north), D=_degrees(east))


def _zone(task: Xml.Element, code: int, prescription: Prescription, rate: float) -> None:
    zone = Xml.SubElement(task, "TZN", A=str(code), B=f"{rate:.6g} {prescription.unit.value}")
    count = int(_counts(prescription, np.array([rate]))[0])
    Xml.SubElement(zone, "PDV", A=_DDI[prescription.unit], B=str(count), C="PDT1", E="VPN1")


def _grid(task: Xml.Element, prescription: Prescription, profile: MachineProfile, length: int) -> None:
    rows, cols = prescription.rates.shape
    across, _, west, _, down, north = prescription.georeference.transform[:6]
    values = {
        "A": _degrees(north + rows * down), "B": _degrees(west), "C": _size(-down), "D": _size(across),
        "E": str(cols), "F": str(rows), "G": _GRID, "H": str(length), "I": str(profile.grid_type),
    }  # fmt: skip
    Xml.SubElement(task, "GRD", values | ({"J": str(_VALUES)} if profile.grid_type == 2 else {}))


def _degrees(value: float) -> str:
    return f"{value:.{_DECIMALS}f}"


def _size(value: float) -> str:
    """All digits of a side in degrees, without an exponent."""
    return np.format_float_positional(value, trim="0")
