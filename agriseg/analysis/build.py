"""The layers of one map on their way: each is written into a folder, under the name that it will have."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from rasterio.crs import CRS
from rasterio.enums import Resampling

from agriseg import files
from agriseg.analysis.area_interval import ErrorMatrix, other_making
from agriseg.analysis.area_table import AreaRow, area_rows, class_id, ground_classes
from agriseg.analysis.components import Components
from agriseg.analysis.metric_grid import CellGrid, field_heading, metric_transform
from agriseg.analysis.polygonize import Polygons, polygonize
from agriseg.analysis.postprocess import clean
from agriseg.analysis.scouting import largest_component, scout
from agriseg.analysis.severity import Severity, mean_of
from agriseg.analysis.trial_plots import COLUMNS, buffer_plots, plot_table
from agriseg.analysis.zonal_stats import ZonalStats, zonal_stats
from agriseg.analysis.zones import Zones
from agriseg.errors import DataError, UsageError
from agriseg.legend import Legend
from agriseg.maps.clip import ClippedMap
from agriseg.maps.reader import FinishedMap, MaskLayer, MaskSource
from agriseg.options.layers import LayerOptions
from agriseg.raster.cog import Layer, RowSource, beside, write_cog
from agriseg.raster.geodesy import gsd
from agriseg.raster.qml import category_names, qgis_style, ramp_colours, ramp_style
from agriseg.spreadsheet import csv_text
from agriseg.units import HECTARE
from agriseg.vectors.affine import moved
from agriseg.vectors.features import LONLAT, Features, GeometryType
from agriseg.vectors.qml import categorized_style, outline_style, points_style
from agriseg.vectors.read import Field, read_fields
from agriseg.vectors.write import write_features, write_geopackage

_WHOLE, _NAMED = 0.98, 5  # share from which a field counts as mapped; fields that a warning names


class Making:
    """The layers of one map on their way; each is written into the folder under the name that it will have."""

    def __init__(self, run: FinishedMap, options: LayerOptions, folder: Path) -> None:
        self._run, self._options, self._folder = run, options, folder
        self._warnings: list[str] = run.doubts
        self._layers: list[Features] = []
        self._styles: dict[str, str] = {}
        self._ground = ground_classes(run.legend, options.ground)
        self._affected = {class_id(run.legend, name, "--affected"): name for name in options.affected or ()}
        self._agreement: ErrorMatrix | None = None

    def make(self) -> dict[str, Any]:
        """Make them all; returns what they come to."""
        fields = self._read("fields", self._options.fields, self._options.field_id)
        source = self._source(fields)
        self._agreement = self._validated()
        areas = self._areas(source, fields)
        polygons = self._polygons(source)
        facts: dict[str, Any] = {"areas": [row.as_dict() for row in areas]}
        if self._options.plots is not None:
            facts["plots"] = self._plots(source)
        if self._options.affected:
            facts["severity"] = self._severity(source)
            facts["scout"] = self._scout(source, polygons)
            patch = largest_component(source, polygons, tuple(self._affected))
            facts["largest"] = None if patch is None else patch.as_dict()
        if self._options.zones:
            facts["zones"] = self._zones(source)
        write_geopackage(self._path(".gpkg"), self._layers, self._styles)
        return {**facts, "warnings": self._warnings}

    def _path(self, end: str) -> Path:
        return self._folder / f"{self._run.stem}{end}"

    def _read(self, what: str, path: Path | None, column: str | None) -> list[Field]:
        """Polygons that lie on the map, at least some of them."""
        if path is None:
            return []
        where = self._run.georeference
        if where.crs is None:
            raise DataError(f"{self._run.classes}: has no CRS, so --{what} lie nowhere on it; give the raster one")
        found = read_fields(path, where.crs, column)
        corners = np.array([0, 1, 1, 0]) * self._run.width, np.array([0, 0, 1, 1]) * self._run.height
        frame = shapely.polygons(np.stack(where.transform @ corners, axis=1))
        outside = [field.name for field in found if not field.shape.intersects(frame)]
        if len(outside) == len(found):
            raise DataError(f"{path}: none of its polygons lies on {self._run.classes.name}; check the CRS of both")
        if outside:
            self._warnings.append(f"{path}: {len(outside)} polygons lie beyond the map, the first is {outside[0]!r}")
        return found

    def _source(self, fields: Sequence[Field]) -> MaskSource:
        """The map as the layers see it: within the fields, cleaned up."""
        source: MaskSource = self._run
        mmu, smooth = self._options.mmu, self._options.smooth
        if fields:
            source = ClippedMap(source, tuple(field.shape for field in fields))
        if mmu or smooth:
            side = min(metric_transform(source).a, metric_transform(source).e)
            if smooth and not round(smooth / side):
                raise UsageError(f"--smooth {smooth:g} m is no pixel of the map, of {side:.3g} m; give that or more")
            cleaned = clean(source, self._folder, mmu, round(smooth / side))
            self._warnings += cleaned.notes
            source = cleaned
        if source is not self._run:
            self._publish_mask(source)
        return source

    def _areas(self, source: MaskSource, fields: Sequence[Field]) -> list[AreaRow]:
        """The table of areas, and the fields' polygons with their hectares."""
        legend = self._run.legend
        (whole,) = zonal_stats(source, len(legend))
        if not whole.pixels.sum():
            where = " within the fields" if fields else ""
            raise DataError(f"{self._run.classes}: not one pixel is mapped{where}, so there are no layers")
        found = zonal_stats(source, len(legend), [field.shape for field in fields]) if fields else []
        rows = self._rows(self._run.stem, whole)
        for field, each in zip(fields, found, strict=True):
            rows += self._rows(field.name, each)
        shares = self._mapped(fields, found)
        told = [None] * len(legend) + [share for share in shares for _ in legend]
        table = [
            {"map": self._run.stem, **row.as_dict(), "mapped_share": share}
            for row, share in zip(rows, told, strict=True)
        ]
        files.write_text(self._path("_area.csv"), csv_text(list(table[0]), [list(row.values()) for row in table]))
        if fields:
            fields_layer = self._named("fields", fields, found)
            columns = {**fields_layer.columns, "mapped_share": np.array(shares)}
            self._layers.append(replace(fields_layer, columns=columns))
            self._styles["fields"] = outline_style()
            both = sum(int(each.pixels.sum()) for each in found) - int(whole.pixels.sum())
            if both:
                self._warnings.append(f"fields overlap in {both:,} pixels: each field counts them, the map only once")
        return rows

    def _mapped(self, fields: Sequence[Field], found: Sequence[ZonalStats]) -> list[float]:
        """The share of each field that is mapped, 0 to 1; fields of which a part is not are named."""
        to = ~self._run.georeference.transform
        pixels = [float(moved(field.shape, to).area) for field in fields]
        shares = [
            min(1.0, round(int(each.pixels.sum()) / size, 6)) if size else 0.0
            for each, size in zip(found, pixels, strict=True)
        ]
        partly = [f"{field.name} {share:.0%}" for field, share in zip(fields, shares, strict=True) if share < _WHOLE]
        if partly:
            more = f", and {len(partly) - _NAMED} more" if len(partly) > _NAMED else ""
            self._warnings.append(
                f"only a part is mapped of {', '.join(partly[:_NAMED])}{more}; shares of the field are of that part"
            )
        names = [field.name for field in fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            self._warnings.append(f"{names.count(twice[0])} fields are called {twice[0]!r}: rows of the table share it")
        return shares

    def _validated(self) -> ErrorMatrix | None:
        """Of the run's model with its labels, if its card tells, and if the layers are of a map as was validated."""
        told = (self._run.record.model.evaluation or {}).get("agreement")
        if told is None:
            return None
        where, cleaned = self._run.georeference, bool(self._options.mmu or self._options.smooth)
        side = gsd(where.crs, where.transform, self._run.width, self._run.height)
        if other := other_making(self._run.record, side, cleaned=cleaned):
            self._warnings.append(f"no hectares by validation: {other}")
            return None
        return ErrorMatrix.from_dict(told, len(self._run.legend))

    def _rows(self, name: str, found: ZonalStats) -> list[AreaRow]:
        return area_rows(name, found, self._run.legend, self._ground, self._agreement)

    def _polygons(self, source: MaskSource) -> Polygons:
        polygons = polygonize(source, Components.of(source), simplify_m=self._options.simplify)
        features = self._features("classes", polygons.shapes, polygons.columns)
        self._layers.insert(0, features)
        self._styles["classes"] = categorized_style(self._run.legend, "class_name")
        for format_ in self._options.formats:
            write_features(self._path(f"_classes.{format_}"), features)
        return polygons

    def _plots(self, source: MaskSource) -> dict[str, Any]:
        """The tidy table of plots."""
        plots = self._read("plots", self._options.plots, self._options.plot_id)
        plots = buffer_plots(plots, self._options.plot_buffer, source)
        legend, weights = self._run.legend, self._options.affected or {}
        found = zonal_stats(source, len(legend), [plot.shape for plot in plots])
        table = [
            row for plot, each in zip(plots, found, strict=True)
            for row in plot_table(plot.name, each, legend, self._ground, weights)
        ]  # fmt: skip
        files.write_text(self._path("_plots.csv"), csv_text(COLUMNS, table))
        self._layers.append(self._named("plots", plots, found))
        self._styles["plots"] = outline_style()
        missed = [plot.name for plot, each in zip(plots, found, strict=True) if not each.pixels.any()]
        if missed:
            self._warnings.append(f"{len(missed)} plots have no mapped pixel, the first is {missed[0]!r}")
        return {"plots": len(plots), "without_a_pixel": missed}

    def _severity(self, source: MaskSource) -> dict[str, Any]:
        """The grid of severity."""
        severity = Severity.of(source, CellGrid.over(source, self._options.cell), self._weights, self._ground)
        if not self._ground:
            self._warnings.append("no class is named soil, ground or background: no shares of the canopy; say --ground")
            severity = severity.of_field_alone()
        bands = ("affected share of the field, %", "affected share of the canopy, %")
        self._publish(Layer("severity", severity.grid.georeference, bands, Resampling.average), severity)
        worst = np.nanmax(severity.percent[0], initial=0)
        files.write_text(self._path("_severity.qml"), ramp_style(0.0, float(worst), greener=False))
        return {"field_percent": _number(severity.field), "canopy_percent": _number(severity.canopy)}

    def _scout(self, source: MaskSource, polygons: Polygons) -> list[dict[str, Any]]:
        """Places worth a walk, for a GIS and for a phone."""
        if not self._options.scout:
            return []
        found = scout(source, polygons, tuple(self._affected), self._options.scout, self._options.scout_distance)
        if found.reason:
            self._warnings.append(f"no scout points: {found.reason}")
            return []
        rows = [point.as_dict() for point in found.points]
        columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
        places = np.array([shapely.Point(point.x, point.y) for point in found.points], object)
        self._layers.append(self._features("scout_points", places, columns, "Point"))
        self._styles["scout_points"] = points_style()
        lonlat = np.array([shapely.Point(point.lon, point.lat) for point in found.points], object)
        for end, names in ((".geojson", list(columns)), (".gpx", ["name", "desc"]), (".kml", ["name", "description"])):
            kept = {name: columns["desc" if name == "description" else name] for name in names}
            write_features(self._path(f"_scout{end}"), Features("scout_points", lonlat, kept, LONLAT, "Point"))
        return rows

    def _zones(self, source: MaskSource) -> list[dict[str, Any]]:
        """Management zones, their cells laid along the work."""
        options = self._options
        heading = field_heading(source) if options.heading == "auto" else float(options.heading)
        grid = CellGrid.over(source, options.width or options.cell, heading)
        if options.zones_by is not None:
            values, ground = mean_of(options.zones_by, source, grid)
        else:
            severity = Severity.of(source, grid, self._weights, self._ground)
            values, ground = severity.percent[0].astype(np.float64), severity.square_metres
        zones = Zones.of(grid, values, ground, options.zones)
        rows = [{"name": f"zone {zone.number}", **asdict(zone)} for zone in zones.table]
        columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
        names = [str(row["name"]) for row in rows]
        self._styles["zones"] = categorized_style(
            Legend.from_names(names, ramp_colours(len(names), greener=bool(options.zones_by))), "name"
        )
        self._layers.append(self._features("zones", zones.shapes(), columns))
        return rows

    @property
    def _weights(self) -> Mapping[str, float]:
        return self._options.affected or {}

    def _named(self, name: str, fields: Sequence[Field], found: Sequence[ZonalStats]) -> Features:
        """Fields or plots with the hectares of each class."""
        columns: dict[str, Any] = {"name": _column([field.name for field in fields])}
        for k, each in enumerate(self._run.legend.names):
            columns[f"{each}_px"] = np.array([zonal_stats.pixels[k] for zonal_stats in found], np.int64)
            metres = [zonal_stats.square_metres[k] for zonal_stats in found if zonal_stats.square_metres is not None]
            if len(metres) == len(found):
                columns[f"{each}_ha"] = np.array(metres) / HECTARE
        return self._features(name, np.array([field.shape for field in fields], object), columns)

    def _features(
        self, name: str, shapes: Any, columns: Mapping[str, Any], kind: GeometryType = "MultiPolygon"
    ) -> Features:
        return Features(name, shapes, columns, self._run.georeference.crs or CRS(), kind)

    def _publish_mask(self, source: MaskSource) -> None:
        """The mask that the layers are made of, where it is not the run's own."""
        legend = self._run.legend
        names = {f"CLASS_{entry.id}": entry.name for entry in legend}
        tags = {"AREA_OR_POINT": "Area"}
        layer = Layer(
            "clean", source.georeference, ("class",), Resampling.mode, legend.colormap, tags=tags, band_tags=names
        )
        self._publish(layer, MaskLayer(source))
        files.write_text(self._path("_clean.qml"), qgis_style(legend))
        files.write_text(self._path("_clean.tif.aux.xml"), category_names(legend, self._path("_clean.tif")))

    def _publish(self, layer: Layer, rows: RowSource) -> None:
        path, _ = write_cog(rows, layer, self._folder, torch.get_num_threads())
        final = path.rename(self._path(f"_{layer.name}.tif"))
        if beside(path).exists():
            beside(path).rename(beside(final))


def _column(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    return np.array(values, object if isinstance(values[0], str) else None)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
