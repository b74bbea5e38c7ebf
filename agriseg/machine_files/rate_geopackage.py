"""A GeoPackage with the rates and the field, for QGIS."""

from pathlib import Path

import numpy as np

from agriseg.machine_files.fit import Fitted
from agriseg.machine_files.profiles import MachineProfile
from agriseg.machine_files.zones import zones_of
from agriseg.vectors.features import LONLAT, Features
from agriseg.vectors.qml import graduated_style, outline_style
from agriseg.vectors.write import write_geopackage

LAYER, FIELD = "prescription", "field"


def write_rate_geopackage(item: Fitted, profile: MachineProfile, path: Path) -> None:
    """Write the layers `prescription`, in the CRS of the cells, and `field`, in degrees; with styles."""
    zones = zones_of(item.prescription)
    unit = item.prescription.unit.value
    columns = {profile.column: zones.rates, profile.unit_column: np.full(len(zones), unit, object)}
    rates = Features(LAYER, zones.shapes.shapes, columns, zones.shapes.crs, "Polygon")
    boundary = np.array(item.prescription.boundary.geoms, object)
    names = {"name": np.full(len(boundary), item.prescription.name, object)}
    field = Features(FIELD, boundary, names, LONLAT, "Polygon")
    styles = {LAYER: graduated_style(profile.column, np.unique(zones.rates).tolist(), unit), FIELD: outline_style()}
    write_geopackage(path, [rates, field], styles)
