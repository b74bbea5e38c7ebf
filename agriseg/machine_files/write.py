"""Prescriptions written for machines; each file is read back by another path before it gets its name."""

import sqlite3
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

import shapefile
import shapely

from agriseg import files
from agriseg.errors import StorageError, UsageError
from agriseg.machine_files.agras import write_agras
from agriseg.machine_files.confirm import check_field, confirm
from agriseg.machine_files.fit import BeyondLimit, Fitted, fitted
from agriseg.machine_files.prescription import Prescription
from agriseg.machine_files.profiles import MachineProfile
from agriseg.machine_files.rate_geopackage import write_rate_geopackage
from agriseg.machine_files.readers.agras import read_agras
from agriseg.machine_files.readers.rate_geopackage import read_rate_geopackage
from agriseg.machine_files.readers.read_rates import ReadFile
from agriseg.machine_files.readers.shapefile_set import read_shapefile_set
from agriseg.machine_files.readers.taskdata import read_taskdata
from agriseg.machine_files.shapefile_set import write_shapefile_set
from agriseg.machine_files.taskdata import write_taskdata
from agriseg.raster.georeference import same_horizontal_crs
from agriseg.vectors.features import LONLAT

_WRITERS = {
    "taskdata": write_taskdata, "shapefile": write_shapefile_set, "agras": write_agras,
    "geopackage": write_rate_geopackage,
}  # fmt: skip
_DAMAGED = (
    ValueError, KeyError, IndexError, TypeError, OSError, zipfile.BadZipFile, Xml.ParseError, struct.error,
    sqlite3.Error, shapefile.ShapefileException, shapely.errors.ShapelyError,
)  # fmt: skip
"""What readers raise for a file that is not of its form."""


@dataclass(frozen=True)
class MachineFiles:
    """What was written.

    Args:
        paths: of the files, a zip or a GeoPackage.
        losses: sentences, with numbers, of what the machine's limits changed.
        written: the prescription as the files hold it.
    """

    paths: tuple[Path, ...]
    losses: tuple[str, ...]
    written: Prescription


def write_machine_files(
    prescription: Prescription, profile: MachineProfile, folder: Path, *, overwrite: bool = False
) -> MachineFiles:
    """Write a prescription in the form of a machine, within its limits.

    Raises:
        UsageError: cells that the format cannot hold.
        DataError: the field elsewhere, or beyond a limit of the machine.
        OutputError: the file exists.
        StorageError: what was written is not what can be read back; there is no file then.
    """
    check_grid(prescription, profile)
    check_field(prescription)
    files.make_folder(folder)
    refused: list[BeyondLimit] = []
    for item in fitted(prescription, profile):
        path = folder / file_name(item, profile)
        if path.exists() and not overwrite:
            raise files.exists_error(path)
        try:
            _write(item, profile, path)
        except BeyondLimit as error:
            refused.append(error)
        else:
            return MachineFiles((path,), item.losses, item.prescription)
    raise refused[-1]


def _write(item: Fitted, profile: MachineProfile, path: Path) -> None:
    with files.draft_of(path) as draft:
        _WRITERS[profile.format](item, profile, draft)
        confirm(item.prescription, read_machine_file(profile, draft, path), path)


def file_name(item: Fitted, profile: MachineProfile) -> str:
    """Name of the one file of a profile."""
    if profile.format == "geopackage":
        return f"{item.stem}_prescription.gpkg"
    return f"{item.stem}_{profile.id}.zip"


def read_machine_file(profile: MachineProfile, path: Path, final: Path | None = None) -> ReadFile:
    """What a file says, read by another path than it was written; errors name its `final` path.

    Raises:
        StorageError: it is not of the form that is specified.
    """
    try:
        if profile.format == "taskdata":
            return read_taskdata(path)
        if profile.format == "shapefile":
            return read_shapefile_set(profile, path)
        return read_agras(path) if profile.format == "agras" else read_rate_geopackage(path)
    except _DAMAGED as error:
        raise StorageError(
            f"{final or path}: cannot be read back ({error}); report it, and use no such file"
        ) from error


def check_grid(prescription: Prescription, profile: MachineProfile) -> None:
    """Refuse turned cells for a format of cells along the degrees; UsageError."""
    place = prescription.georeference
    if place.crs is None:
        raise UsageError(f"{prescription.name}: the cells have no CRS, so their place is unknown; expected EPSG:4326")
    if profile.grid == "any":
        return
    across, along, _, beside, down, _ = place.transform[:6]
    upright = across > 0 and down < 0 and along == beside == 0
    if not (upright and place.crs.is_geographic and same_horizontal_crs(place.crs, LONLAT, [(8.0, 50.0)])):
        raise UsageError(
            f"{prescription.name}: {profile.id} holds cells along the degrees of EPSG:4326, these are turned or in "
            "another CRS; make the cells for this machine"
        )
