"""What has changed between two finished maps of one field, once the shift between their images is taken out."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rasterio.enums import Resampling

from agriseg import files
from agriseg.change.coregister import NoCommonGround, Shift, measure_shift
from agriseg.change.pair import DatedMap, comparability_warnings, shared_window
from agriseg.change.transitions import MapPair, Transitions, transition_legend
from agriseg.errors import DataError, UsageError
from agriseg.files import csv_text, exists_error
from agriseg.grid import Window
from agriseg.maps.publish import PublishedFiles, publish
from agriseg.maps.stem import CHANGE, Stem
from agriseg.raster.cog import Layer, beside, write_cog
from agriseg.raster.qml import category_names, qgis_style

MOST_METRES, MOST_PIXELS = 3.0, 30.0
"""A shift that is taken out unasked is at most one of these; a receiver without corrections errs by so much."""

_SMALL = 0.5  # px of shift that nearest pixels cannot show
_DISTORTED = 1.0  # px of spread
_EDGES = 0.1  # share of the changed pixels that is told


def make_change(
    earlier: Path, later: Path, out: Path, *, earlier_image: Path | None = None, later_image: Path | None = None,
    max_shift: float | None = None, align: bool = True, overwrite: bool = False,
) -> PublishedFiles:  # fmt: skip
    """Compare two finished maps of the same classes.

    The later map is laid on the grid of the earlier one. Where both were taken from the images' own positions they
    seldom lie on each other, so the shift between the images is measured and taken out.

    Args:
        earlier, later: folders of `agriseg run` with one record each, or records.
        out: folder of the results, which are named after the later map.
        earlier_image, later_image: where the images are now, if not where the records say.
        max_shift: metres; a longer shift is refused. None allows 3 m or 30 px, whichever is more.
        align: whether the shift is taken out, or measured alone.
        overwrite: replace what exists.

    Raises:
        AgrisegError: its children say what went wrong; nothing has its name then.
    """
    before, after = DatedMap.of(earlier, earlier_image, "earlier"), DatedMap.of(later, later_image, "later")
    if before.record.samefile(after.record):
        raise UsageError(f"{after.record}: given as both dates; name the map of another date as LATER")
    stem = Stem(out, after.map.stem)
    final = stem.path(CHANGE)
    if not overwrite and final.exists():
        raise exists_error(final)  # before the work
    window = shared_window(before.map, after.map)
    warnings = [*before.map.doubts, *after.map.doubts, *comparability_warnings(before.map, after.map)]
    shift = _measured(before, after, window, warnings, align=align)
    if shift is not None and align:
        _refuse_far(shift, max_shift, before, after)
    taken = (shift.rows, shift.cols) if shift is not None and align else (0.0, 0.0)
    with MapPair(before.map, after.map, taken) as dates:
        found = dates.count()
        if not found.valid_pixels:
            raise DataError(
                f"{after.map.classes}: no pixel has data here and in {before.map.classes.name}; no change to tell"
            )
        if found.edge_pixels > _EDGES * found.changed_pixels:
            warnings.append(
                f"{found.edge_pixels / found.changed_pixels:.0%} of the changed pixels lie along edges that both dates "
                "show; a displacement of one pixel explains them"
            )
        told = {
            "earlier": before.as_dict(),
            "later": after.as_dict(),
            "shift": None if shift is None else {**asdict(shift), "taken_out": align},
            **_facts(found),
            "warnings": warnings,
        }

        def make(folder: Path) -> Mapping[str, Any]:
            _write(folder, final.stem, dates, found)
            return told

        return publish(stem, CHANGE, make, overwrite=overwrite)


def _facts(found: Transitions) -> dict[str, Any]:
    """What the record holds of the change."""
    metres = found.square_metres
    return {
        "classes": found.classes(),
        "class_names": list(found.legend.names),
        "matrix_px": found.pixels[:-1, :-1].tolist(),
        "matrix_m2": None if metres is None else metres[:-1, :-1].round(4).tolist(),
        "unchanged_share": round(found.unchanged_share, 8),
        "changed_pixels": found.changed_pixels,
        "edge_pixels": found.edge_pixels,
        "one_date_only": found.one_date(),
    }


def _measured(before: DatedMap, after: DatedMap, window: Window, warnings: list[str], *, align: bool) -> Shift | None:
    """The shift between the images; None if it cannot be measured, and need not."""
    roles = [role for role in before.bands if role in after.bands]
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
            f"the later image lies {_length(shift)} off; --no-align leaves it there, so that edges look like change"
        )
    if shift.spread > _DISTORTED:
        warnings.append(
            f"the images are distorted to each other by about {shift.spread:.1f} px, which no shift takes out"
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


def _write(folder: Path, stem: str, dates: MapPair, found: Transitions) -> None:
    """The layer of transitions with its legend, and the table."""
    legend = transition_legend(found.legend)
    names = {f"CLASS_{entry.id}": entry.name for entry in legend}
    layer = Layer(
        stem, dates.georeference, ("change",), Resampling.mode, legend.colormap, tags={"AREA_OR_POINT": "Area"},
        band_tags=names,
    )  # fmt: skip
    path, _ = write_cog(dates, layer, folder, torch.get_num_threads())
    rows = found.pairs()
    files.write_text(folder / f"{stem}.csv", csv_text(list(rows[0]), [list(row.values()) for row in rows]))
    files.write_text(folder / f"{stem}.qml", qgis_style(legend))
    files.write_text(beside(path), category_names(legend, path))
