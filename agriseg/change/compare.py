"""Change detection: two finished maps of one field are compared after the shift between their images is corrected."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rasterio.enums import Resampling

from agriseg import files
from agriseg.change.coregister import NoCommonGround, Shift, measure_shift
from agriseg.change.pair import DatedMap, comparability_warnings, shared_window
from agriseg.change.transitions import MapPair, Transitions, transition_legend
from agriseg.errors import DataError, UsageError
from agriseg.files import csv_text, exists_error, file_hash
from agriseg.maps.publish import PublishedFiles, publish
from agriseg.maps.stem import CHANGE, Stem
from agriseg.raster.cog import Layer, beside, write_cog
from agriseg.raster.qml import category_names, qgis_style

MOST_METRES, MOST_PIXELS = 3.0, 30.0
"""Longest shift that is corrected without --max-shift, either of them; receivers without corrections err so much."""

_SMALL = 0.5  # px; a smaller shift moves no class to another pixel
_DISTORTED = 1.0  # px of spread
_EDGES = 0.1  # share of the changed pixels, above which a warning is given
_AREAS = ("earlier_ha", "later_ha", "gain_ha", "loss_ha", "net_ha")  # of a class, in the record


@dataclass(frozen=True)
class ChangeOptions:
    """How two maps are compared.

    Args:
        earlier_image, later_image: where the images are now; None takes the paths of the records.
        max_shift: metres; a longer shift is refused. None allows 3 m or 30 px, whichever is more.
        align: whether the shift is corrected, or only measured.
    """

    earlier_image: Path | None = None
    later_image: Path | None = None
    max_shift: float | None = None
    align: bool = True


def make_change(
    earlier: Path, later: Path, out: Path, options: ChangeOptions | None = None, *, overwrite: bool = False
) -> PublishedFiles:
    """Compare two finished maps of the same classes on the grid of the earlier one.

    Args:
        earlier, later: folders of `agriseg run` with one record each, or records.
        out: folder of the results, which are named after the later map.

    Raises:
        AgrisegError: its subclasses say what went wrong; nothing is published then.
    """
    options = options or ChangeOptions()
    before, after = _dated_maps(earlier, later, options)
    stem = Stem(out, after.map.stem)
    record = stem.path(CHANGE)
    if not overwrite and record.exists():
        raise exists_error(record)  # before the work
    warnings = [*before.map.doubts, *after.map.doubts, *comparability_warnings(before.map, after.map)]
    shift = _measured(before, after, warnings, align=options.align)
    offset = (0.0, 0.0)
    if shift is not None and options.align:
        _refuse_far(shift, options.max_shift, before, after)
        offset = shift.rows, shift.cols
    with MapPair(before.map, after.map, offset) as pair:
        transitions = _counted(pair, before, after, warnings)
        facts = _record((before, after), shift, options, transitions, warnings)

        def make(folder: Path) -> Mapping[str, Any]:
            _write_files(folder, record.stem, pair, transitions)
            return facts

        return publish(stem, CHANGE, make, overwrite=overwrite)


def _dated_maps(earlier: Path, later: Path, options: ChangeOptions) -> tuple[DatedMap, DatedMap]:
    before = DatedMap.of(earlier, options.earlier_image, "earlier")
    after = DatedMap.of(later, options.later_image, "later")
    if before.record.samefile(after.record):
        raise UsageError(f"{after.record}: is named for both dates; name the map of another date as LATER")
    return before, after


def _counted(pair: MapPair, before: DatedMap, after: DatedMap, warnings: list[str]) -> Transitions:
    """The transitions; a warning is added if a displacement of one pixel may explain many of them."""
    transitions = pair.count()
    if not transitions.valid_pixels:
        raise DataError(
            f"{after.map.classes}: no pixel has data here and in {before.map.classes.name}; nothing to compare"
        )
    if transitions.edge_pixels > _EDGES * transitions.changed_pixels:
        warnings.append(
            f"{transitions.edge_pixels / transitions.changed_pixels:.0%} of the changed pixels are on edges that both "
            "dates show; a displacement of one pixel explains them"
        )
    return transitions


def _measured(before: DatedMap, after: DatedMap, warnings: list[str], *, align: bool) -> Shift | None:
    """The shift between the images; None if it cannot be measured and need not be corrected."""
    window = shared_window(before.map, after.map)
    roles = [role for role in before.map.record.parameters.bands if role in after.map.record.parameters.bands]
    sources = before.source(roles), after.source(roles)
    try:
        shift = measure_shift(*sources, before.map.georeference, window)
    except NoCommonGround as error:
        if align:
            raise
        warnings.append(f"the shift is unknown: {error}")
        return None
    if not align and shift.pixels > _SMALL:
        warnings.append(
            f"the later image is {_length(shift)} off, and --no-align does not correct it: edges look like change"
        )
    if shift.spread > _DISTORTED:
        warnings.append(
            f"the images are distorted to each other by about {shift.spread:.1f} px, which no shift corrects"
        )
    return shift


def _refuse_far(shift: Shift, most: float | None, before: DatedMap, after: DatedMap) -> None:
    if most is None:
        near = shift.pixels <= MOST_PIXELS or (shift.metres is not None and shift.metres <= MOST_METRES)
    elif shift.metres is None:
        raise UsageError("--max-shift: the maps have no CRS, so that a shift has no metres; leave it out")
    else:
        near = shift.metres <= most
    if not near:
        allowed = f"{MOST_METRES:g} m or {MOST_PIXELS:g} px" if most is None else f"{most:g} m"
        raise DataError(
            f"{after.image}: lies {_length(shift)} from {before.image.name}, more than {allowed}; "
            "look at both, and allow it with --max-shift"
        )


def _length(shift: Shift) -> str:
    pixels = f"{shift.pixels:.1f} px"
    return pixels if shift.metres is None else f"{shift.metres:.2f} m ({pixels})"


def _record(
    dates: Sequence[DatedMap],
    shift: Shift | None,
    options: ChangeOptions,
    transitions: Transitions,
    warnings: Sequence[str],
) -> dict[str, Any]:
    images = [
        {"record": str(each.record.resolve()), "sha256": file_hash(each.record), "image": str(each.image.resolve())}
        for each in dates
    ]
    names, metres = transitions.legend.names, transitions.square_metres
    one_date = {"earlier": transitions.total(np.s_[:-1], -1), "later": transitions.total(-1, np.s_[:-1])}
    return {
        "earlier": images[0],
        "later": images[1],
        "shift": None if shift is None else {**asdict(shift), "taken_out": options.align},
        "classes": [
            {"class": name, **dict(zip(_AREAS, hectares, strict=True))}
            for name, hectares in zip(names, transitions.class_hectares(), strict=True)
        ],
        "class_names": names,
        "matrix_px": transitions.pixels[:-1, :-1].tolist(),
        "matrix_m2": None if metres is None else metres[:-1, :-1].round(4).tolist(),
        "unchanged_share": round(transitions.unchanged_share, 8),
        "changed_pixels": transitions.changed_pixels,
        "edge_pixels": transitions.edge_pixels,
        "one_date_only": {name: {"pixels": pixels, "ha": hectares} for name, (pixels, hectares) in one_date.items()},
        "warnings": warnings,
    }


def _write_files(folder: Path, stem: str, pair: MapPair, transitions: Transitions) -> None:
    """The layer of transitions with its legend, and the table."""
    legend = transition_legend(transitions.legend)
    layer = Layer(
        stem, pair.georeference, ("change",), Resampling.mode, legend.colormap, tags={"AREA_OR_POINT": "Area"},
        band_tags=legend.tags,
    )  # fmt: skip
    path, _ = write_cog(pair, layer, folder, torch.get_num_threads())
    files.write_text(folder / f"{stem}.csv", csv_text(("from", "to", "pixels", "ha"), transitions.pairs()))
    files.write_text(folder / f"{stem}.qml", qgis_style(legend))
    files.write_text(beside(path), category_names(legend, path))
