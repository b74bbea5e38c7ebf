"""The two maps of a change detection with their images, and whether they can be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agriseg.change.regrid import overlap
from agriseg.errors import DataError, InputMissing, UsageError
from agriseg.grid import Window
from agriseg.maps.reader import FinishedMap, find_records
from agriseg.maps.unsure import unsure_area
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.units import human_metres

_GSD_RATIO = 1.25  # of the two maps, above which a warning is given


@dataclass(frozen=True)
class DatedMap:
    """The map of one date, with the record of its run and its image."""

    record: Path
    map: FinishedMap
    image: Path

    @classmethod
    def of(cls, path: Path, image: Path | None, name: str) -> "DatedMap":
        """The only map in a folder, or that of a record.

        `image` is its path now; None takes the path of the record. `name` is earlier or later, for the message.

        Raises:
            UsageError: several maps are there.
            InputMissing: no map, or no image.
            DataError: the record is damaged.
        """
        records = find_records(path)
        if len(records) > 1:
            raise UsageError(f"{path}: holds {len(records)} maps; name the record of one, such as {records[0].name}")
        map_ = FinishedMap.of(records[0])
        image = Path(map_.record.input.path) if image is None else image
        if not image.is_file():
            raise InputMissing(f"{image}: the image of {records[0]} is not there; say where it is with --{name}-image")
        return cls(records[0], map_, image)

    def source(self, roles: Sequence[str]) -> Source:
        """The image with the bands of some roles; without roles, with all bands that the run used.

        Raises:
            DataError: it is not the image that was mapped.
        """
        info = RasterInfo.read(self.image)
        now = {"width": info.width, "height": info.height, "bands": info.count, "bytes": info.stamp.size}
        for name, value in now.items():
            if (expected := getattr(self.map.record.input, name)) != value:
                raise DataError(
                    f"{self.image}: {name} {value}, the image that was mapped had {expected}; name that one"
                )
        if (info.georeference.crs is None) != (self.map.georeference.crs is None):
            raise DataError(
                f"{self.image}: it or its map has a CRS, the other has none; name the image that was mapped"
            )
        parameters = self.map.record.parameters
        bands = [parameters.bands[role] for role in roles] or list(parameters.bands.values())
        rule = ValidityRule.of(info, alpha=parameters.alpha_bands)
        rule = replace(rule, nodata=tuple((band, float(value)) for band, value in parameters.nodata))
        return Source(info, tuple(bands), rule, info.width, info.height)


def shared_window(before: FinishedMap, after: FinishedMap) -> Window:
    """The part of the earlier map that the later one covers.

    Raises:
        DataError: there is none, or it cannot be known.
    """
    one, two = before.georeference, after.georeference
    both = f"{before.classes.name}, {after.classes.name}"
    if one.gcps or two.gcps:
        raise DataError(f"{both}: lie by ground control points alone; rectify the images with gdalwarp and run again")
    sizes = (before.width, before.height), (after.width, after.height)
    if (one.crs is None) != (two.crs is None):
        raise DataError(f"{both}: one has a CRS and one has none; give the image without one its CRS and run again")
    if one.crs is None and sizes[0] != sizes[1]:
        raise DataError(f"{both}: have no CRS, and {sizes[0]} and {sizes[1]} px; expected one size, or a CRS for both")
    window = overlap(one, sizes[0], two, sizes[1])
    if window is None:
        raise DataError(f"{both}: share no ground{_apart(one, two)}; name two maps of one field")
    return window


def check_trend(before: FinishedMap, after: FinishedMap) -> None:
    """Check that two maps make a trend.

    Raises:
        DataError: they share no ground, have different classes, or are in the wrong order.
    """
    shared_window(before, after)
    names = [sorted(each.legend.decided.names) for each in (before, after)]
    if names[0] != names[1]:
        raise DataError(
            f"{before.classes.name}, {after.classes.name}: classes {', '.join(names[0])} and {', '.join(names[1])}; "
            "only maps of the same classes make a trend"
        )
    days = [each.record.input.acquired or "" for each in (before, after)]
    if all(days) and days[0] > days[1]:
        raise DataError(
            f"{before.classes.name} is of {days[0]}, later than {after.classes.name} of {days[1]}; "
            "name an earlier map with --previous"
        )


def limit_warnings(before: FinishedMap, after: FinishedMap) -> list[str]:
    """A warning where two maps leave pixels unsure below different confidences, so that their areas differ by that."""
    limits = [each.record.min_confidence for each in (before, after)]
    if limits[0] == limits[1]:
        return []
    texts = ["without --min-confidence" if each is None else f"with --min-confidence {each:g}" for each in limits]
    return [
        f"the earlier map is made {texts[0]}, this one {texts[1]}: with more unsure pixels each class has less area, "
        "which looks like a trend; run both alike"
    ]


def _apart(one: Georeference, two: Georeference) -> str:
    """Distance between the corners of two maps in one metric CRS; empty if it is unknown."""
    if one.crs is None or one.crs != two.crs or not one.crs.is_projected:
        return ""
    unit = one.crs.linear_units_factor[1]
    metres = unit * math.hypot(one.transform.c - two.transform.c, one.transform.f - two.transform.f)
    return f", their corners lie {metres:,.0f} m apart"


def comparability_warnings(before: FinishedMap, after: FinishedMap) -> list[str]:
    """Differences between the two maps that may look like change, and what of them is not compared."""
    warnings = [
        f"{map_.classes.name}: {unsure_area(map_)} are not compared, as if they had no data"
        for map_ in (before, after) if map_.legend.has_unsure
    ]  # fmt: skip
    scales = [each.georeference.gsd(each.width, each.height) for each in (before, after)]
    if scales[0] and scales[1]:
        sides = [math.sqrt(scale[0] * scale[1]) for scale in scales if scale]
        if max(sides) > _GSD_RATIO * min(sides):
            warnings.append(
                f"pixels of {human_metres(sides[0])} and of {human_metres(sides[1])}: what only the finer map shows "
                "looks like change; run both with one --gsd"
            )
    models = [each.record.model.fingerprint for each in (before, after)]
    if models[0] != models[1]:
        warnings.append("mapped by two models: differences between the models look like change")
    return warnings
