"""GeoJSON (RFC 7946) without GDAL, which takes the end of 48.755000006 for noise and writes 48.755."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.vectors.features import Features


def write_geojson(path: Path, features: Features) -> None:
    """Write features that are in longitude and latitude, one a line.

    Raises:
        ValueError: a number that is not finite.
        OSError: it cannot be written.
    """
    columns = {name: _values(values) for name, values in features.columns.items()}
    with path.open("x", encoding="utf-8") as file:
        name = json.dumps(features.name, ensure_ascii=False)
        file.write(f'{{"type": "FeatureCollection", "name": {name}, "features": [')
        for index, shape in enumerate(shapely.to_geojson(features.shapes)):
            told = {name: values[index] for name, values in columns.items()}
            properties = json.dumps(told, ensure_ascii=False, allow_nan=False)
            separator = ",\n" if index else "\n"
            file.write(f'{separator}{{"type": "Feature", "properties": {properties}, "geometry": {shape}}}')
        file.write("\n]}\n")


def _values(values: NDArray[Any]) -> list[Any]:
    """As JSON has them; NaN is no value."""
    if values.dtype.kind == "f":
        return [None if np.isnan(value) else value for value in values.tolist()]
    return list(values.tolist())
