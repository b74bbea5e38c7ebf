"""What a layer is: what it is built from, what it comes to, and what the report shows of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from rasterio.crs import CRS

from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.analysis.components import Components
from agriseg.analysis.polygonize import Polygons, polygonize
from agriseg.analysis.record import LayersRecord
from agriseg.analysis.zonal_stats import ZonalStats
from agriseg.errors import DataError
from agriseg.legend import Legend
from agriseg.maps.reader import FinishedMap, MaskSource
from agriseg.options.layers import LayerOptions
from agriseg.raster.cog import Layer, RowSource, beside, write_cog
from agriseg.units import HECTARE
from agriseg.vectors.features import Features, GeometryType
from agriseg.vectors.read import Field, read_fields


@dataclass(frozen=True)
class LayerContext:
    """What layers are built from.

    Args:
        folder: where files are written, under the names that they will have.
        source: the map within the fields, cleaned up.
        fields: boundaries; empty without any.
        ground: ids of the classes that are no plants.
        affected: ids of the affected classes, in the order of the options.
        agreement: of the run's model with its labels; None if the areas cannot be corrected by it.
    """

    run: FinishedMap
    options: LayerOptions
    folder: Path
    source: MaskSource
    fields: tuple[Field, ...]
    ground: frozenset[int]
    affected: tuple[int, ...]
    agreement: ErrorMatrix | None

    @cached_property
    def polygons(self) -> Polygons:
        """Of all patches of the map."""
        return polygonize(self.source, Components.of(self.source), self.options.simplify)

    @property
    def weights(self) -> Mapping[str, float]:
        """Affected class to the percent of its area that counts."""
        return self.options.affected or {}

    def path(self, end: str) -> Path:
        """The file whose name ends so."""
        return self.folder / f"{self.run.stem}{end}"

    def features(
        self, name: str, shapes: NDArray[np.object_], columns: Mapping[str, Sequence[Any] | NDArray[Any]],
        kind: GeometryType = "MultiPolygon",
    ) -> Features:  # fmt: skip
        """A vector layer in the map's CRS; columns of text become objects."""
        arrays = {each: column(values) for each, values in columns.items()}
        return Features(name, shapes, arrays, self.run.georeference.crs or CRS(), kind)

    def write_raster(self, layer: Layer, rows: RowSource) -> Path:
        """Write `<stem>_<layer>.tif`, with its .aux.xml if it needs one."""
        path, _ = write_cog(rows, layer, self.folder, torch.get_num_threads())
        final = path.rename(self.path(f"_{layer.name}.tif"))
        if beside(path).exists():
            beside(path).rename(beside(final))
        return final


@dataclass(frozen=True)
class StyledFeatures:
    """A layer of the GeoPackage and the style (QML) that QGIS shows it with."""

    features: Features
    style: str


@dataclass(frozen=True)
class LayerResult:
    """What a layer comes to, besides the files that its builder has written.

    Args:
        facts: entries of the layers' record, JSON values.
        features: its layers of the GeoPackage.
        warnings: for readers of the map.
    """

    facts: Mapping[str, object] = field(default_factory=dict)
    features: tuple[StyledFeatures, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableColumn:
    """A column of a table in the report.

    Args:
        title: in English; the report translates it.
        unit: of its numbers: `ha` (written as an area), `share` (0 to 1, written in percent) or none.
        text: a sentence around the value, such as `zone {number}`; in English too.
    """

    title: str
    unit: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class ReportTable:
    """A table of the report: a cell is a name, a number, or None for one that is not known."""

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[str | float | None, ...], ...]


@dataclass(frozen=True)
class MapLayer:
    """One kind of layer, as `analysis.build.MAP_LAYERS` lists them.

    Args:
        build: writes its files and returns what else it comes to; None if the options do not ask for it.
        table: its table in the report, from the layers' record; None without one.
    """

    build: Callable[[LayerContext], LayerResult | None]
    table: Callable[[LayersRecord], ReportTable | None] = lambda _: None


def read_polygons(run: FinishedMap, flag: str, path: Path, name_column: str | None) -> tuple[list[Field], list[str]]:
    """Polygons of a file in the map's CRS, and warnings.

    `flag` is `--fields` or `--plots`, for errors. Without a column of names the usual ones are taken.

    Raises:
        DataError: the map has no CRS, or no polygon is on the map.
    """
    where = run.georeference
    if where.crs is None:
        raise DataError(f"{run.classes}: has no CRS, so {flag} cannot be placed on it; give the raster one")
    polygons = read_fields(path, where.crs, name_column)
    corners = np.array([0, 1, 1, 0]) * run.width, np.array([0, 0, 1, 1]) * run.height
    frame = shapely.polygons(np.stack(where.transform @ corners, axis=1))
    outside = [polygon.name for polygon in polygons if not polygon.shape.intersects(frame)]
    if len(outside) == len(polygons):
        raise DataError(f"{path}: none of its polygons is on {run.classes.name}; check the CRS of both")
    if not outside:
        return polygons, []
    return polygons, [f"{path}: {len(outside)} polygons are outside the map, the first is {outside[0]!r}"]


def polygon_columns(
    polygons: Sequence[Field], stats: Sequence[ZonalStats], legend: Legend
) -> dict[str, Sequence[Any] | NDArray[Any]]:
    """Columns of fields or plots: name, and pixels and hectares of each class."""
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {"name": [polygon.name for polygon in polygons]}
    for k, name in enumerate(legend.names):
        columns[f"{name}_px"] = np.array([each.pixels[k] for each in stats], np.int64)
        areas = [each.square_metres[k] for each in stats if each.square_metres is not None]
        if len(areas) == len(stats):
            columns[f"{name}_ha"] = np.array(areas) / HECTARE
    return columns


def shapes_of(polygons: Sequence[Field]) -> NDArray[np.object_]:
    """(N,) shapes of fields or plots."""
    return np.array([polygon.shape for polygon in polygons], object)


def column(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """A column of features: (N,) objects of text, or numbers."""
    return np.array(values, object if len(values) and isinstance(values[0], str) else None)
