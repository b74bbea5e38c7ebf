"""The layer of scouting points: the few places of a map that are worth a walk."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.analysis.layer import LayerContext, LayerResult, StyledFeatures, column
from agriseg.analysis.metric_grid import metric_transform
from agriseg.analysis.polygonize import Polygons
from agriseg.analysis.record import ClassName, LayersRecord, json_values
from agriseg.errors import DataError, UsageError
from agriseg.maps.reader import MaskSource
from agriseg.raster.georeference import Georeference
from agriseg.units import human_area
from agriseg.vectors.features import LONLAT, Features, moved
from agriseg.vectors.qml import points_style
from agriseg.vectors.write import write_features

DISTANCE_SHARE = 0.05
"""Least distance of two points, of the map's diagonal."""
_DECIMALS = 7  # of degrees: 1.1 cm


@dataclass(frozen=True)
class ScoutPoint:
    """A place to walk to.

    Args:
        number: from 1, the most worth it.
        class_name: what it is in.
        area_m2: of the patch it stands for, square metres.
        confidence: mean of that patch, 0 to 1.
        lon, lat: OGC:CRS84, degrees to 7 decimals.
        name, desc: for the screen of a phone: `1 weed`, `24 m2 of weed, 80 % sure`.
    """

    number: int
    class_name: ClassName
    area_m2: float
    confidence: float
    lon: float
    lat: float
    name: str
    desc: str


def build(context: LayerContext) -> LayerResult | None:
    """Write the scouting points as GeoJSON, GPX and KML; the facts are the points and the largest affected patch."""
    if not context.affected:
        return None
    source, polygons, options = context.source, context.polygons, context.options
    facts = {"scout": (), "largest": largest_component(source, polygons, context.affected)}
    if not options.scout:
        return LayerResult(facts)
    points, places = scout(source, polygons, context.affected, options.scout, options.scout_distance)
    if not points:
        names = ", ".join(source.legend.names[k] for k in sorted(context.affected))
        return LayerResult(facts, warnings=(f"no scout points: the map shows no patch of {names}",))
    rows = json_values(points)
    columns = {name: column([row[name] for row in rows]) for name in rows[0]}
    lonlat = np.array([shapely.Point(point.lon, point.lat) for point in points], object)
    for end, kept in ((".geojson", list(columns)), (".gpx", ["name", "desc"]), (".kml", ["name", "description"])):
        chosen = {name: columns["desc" if name == "description" else name] for name in kept}
        write_features(context.path(f"_scout{end}"), Features("scout_points", lonlat, chosen, LONLAT, "Point"))
    layer = StyledFeatures(context.features("scout_points", shapely.points(places), columns, "Point"), points_style())
    return LayerResult({**facts, "scout": points}, (layer,))


def recorded_points(record: LayersRecord) -> tuple[ScoutPoint, ...]:
    """The scouting points; empty without any."""
    return record.fact("scout", tuple[ScoutPoint, ...]) or ()


def scout(
    source: MaskSource, polygons: Polygons, affected: Collection[int], count: int = 5, distance: float | None = None
) -> tuple[tuple[ScoutPoint, ...], NDArray[np.float64]]:
    """Choose places by what a walk there would show: patches with the largest product of area and mean confidence.

    From the best on, a patch is taken unless its point lies nearer than `distance` to one that was taken. There may be
    fewer points than `count`. Distances are metres by the GSD in the middle of the map; None is 5 % of its diagonal.
    `affected` are the ids of the classes that are looked for.

    Returns:
        The points, the most worth a walk first, none if there is no such patch; (P, 2) the widest places of their
        patches, in the map's CRS.

    Raises:
        UsageError: a count below 1, or a distance below 0.
        DataError: the map's ground is unknown, or its CRS has no way to longitude and latitude.
    """
    plane = metric_transform(source)
    if distance is None:
        distance = DISTANCE_SHARE * float(np.hypot(*(plane @ (source.width, source.height))))
    if count < 1 or not distance >= 0:
        raise UsageError(f"{count} scout points {distance:g} m apart, expected 1 or more, and 0 m or more")
    columns, transform = polygons.columns, source.georeference.transform
    sought = np.flatnonzero(np.isin(columns["class_id"], list(affected)))
    score = columns["area_m2"][sought] * columns["mean_confidence"][sought]
    order = sought[np.argsort(-score, kind="stable")]
    taken, spots = _spread(moved(polygons.shapes[order], plane @ ~transform), count, distance)
    return _points(source, polygons, order[taken], spots)


def largest_component(source: MaskSource, polygons: Polygons, affected: Collection[int]) -> ScoutPoint | None:
    """The patch of these classes with the most ground; None if the map shows none.

    Raises:
        DataError: as `scout`.
    """
    sought = np.flatnonzero(np.isin(polygons.columns["class_id"], list(affected)))
    if not len(sought):
        return None
    patch = sought[[np.argmax(polygons.columns["area_m2"][sought])]]
    (shape,) = moved(polygons.shapes[patch], metric_transform(source) @ ~source.georeference.transform)
    return _points(source, polygons, patch, _widest_place(shape)[None])[0][0]


def _points(
    source: MaskSource, polygons: Polygons, patches: NDArray[np.intp], spots: NDArray[np.float64]
) -> tuple[tuple[ScoutPoint, ...], NDArray[np.float64]]:
    """Points of patches by places (P, 2) in them, metres in the plane of the map's middle; these in the map's CRS."""
    columns = polygons.columns
    x, y = source.georeference.transform @ (~metric_transform(source) @ spots.T)
    points = []
    for number, (patch, place) in enumerate(zip(patches, _lonlat(source.georeference, x, y).T, strict=True), 1):
        name, area, confidence = (columns[each][patch] for each in ("class_name", "area_m2", "mean_confidence"))
        desc = f"{human_area(area)} of {name}, {100 * confidence:.0f} % sure"
        lon, lat = place.tolist()
        points.append(ScoutPoint(number, name, float(area), float(confidence), lon, lat, f"{number} {name}", desc))
    return tuple(points), np.stack([x, y], axis=1)


def _spread(shapes: NDArray[np.object_], count: int, distance: float) -> tuple[list[int], NDArray[np.float64]]:
    """Greedily, the first shapes whose widest places lie apart: their indices, and (P, 2) these places."""
    taken: list[int] = []
    spots = np.empty((0, 2))
    bounds = shapely.bounds(shapes)
    near = np.zeros(len(shapes), bool)  # as a whole to a place that is taken: no need to look for the widest one
    for index, shape in enumerate(shapes):
        if len(taken) == count:
            break
        if near[index]:
            continue
        spot = _widest_place(shape)
        if (np.hypot(*(spots - spot).T) >= distance).all():
            taken.append(index)
            spots = np.vstack([spots, spot])
            reach = np.maximum(abs(bounds[:, :2] - spot), abs(bounds[:, 2:] - spot))
            near |= np.hypot(*reach.T) < distance
    return taken, spots


def _widest_place(shape: shapely.Geometry) -> NDArray[np.float64]:
    """(2,) centre of the largest circle in a shape."""
    return np.asarray(shapely.get_coordinates(shapely.maximum_inscribed_circle(shape))[0])


def _lonlat(where: Georeference, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, N) degrees."""
    lonlat = where.lonlat(x, y)
    if lonlat is None:
        raise DataError("the map's CRS is not tied to the Earth, so scouting points have no longitude and latitude")
    if not np.isfinite(lonlat).all():
        raise DataError("scout points have no longitude and latitude in the map's CRS; is it the right one?")
    return lonlat.round(_DECIMALS)
