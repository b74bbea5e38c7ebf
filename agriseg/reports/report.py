"""Writing the report of a finished map from its files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.analysis.area_table import recorded_areas
from agriseg.analysis.record import LayersRecord
from agriseg.analysis.scouting import recorded_points
from agriseg.analysis.zones import recorded_zones
from agriseg.change.pair import check_trend, limit_warnings
from agriseg.errors import DataError, OutputError, UsageError
from agriseg.files import file_hash
from agriseg.maps.reader import FinishedMap, find_records
from agriseg.maps.stem import LAYERS, Stem
from agriseg.reports.html import GENERATOR
from agriseg.reports.map_figure import MapPicture, outline, scout_positions
from agriseg.reports.map_summary import MapSummary
from agriseg.reports.report_page import Outline, ReportData, report_page
from agriseg.reports.translations import Translator
from agriseg.vectors.ogr import OGR_ERRORS, read_layer, reason

_HEAD = 4096  # bytes of a page that include its generator
_MOST_OUTLINES = 2000  # fields or zones on a map; more cannot be distinguished, and need megabytes


def write_report(record: Path, lang: str = "en", previous: Path | None = None) -> Path:
    """Write the page of a finished map beside it, over an earlier one, in `lang` (en or zh).

    The same run gives the same bytes, wherever its image is. `previous` is the folder or record of an earlier map.

    Raises:
        InputMissing: a file of the map is gone, or there is no earlier map.
        DataError: a file is damaged.
        OutputError: a file that is no report has the report's name.
    """
    run, layers, warnings = finished_run(record)
    page = run.folder / f"{run.stem}_report.html"
    if page.exists() and not is_page(page):
        raise OutputError(f"{page}: exists and is no report of agriseg's; move it away")
    photo = run.folder / f"{run.stem}_image.png"
    picture = MapPicture.of(run, _mask(run, layers), photo if photo.is_file() else None)
    points = () if layers is None else recorded_points(layers)
    report = ReportData(
        MapSummary.of(run, layers), run.record, layers, picture,
        scout_positions(run, [(point.lon, point.lat) for point in points]),
        tuple(_outlines(run, layers, picture, warnings)), _earlier(previous, record, run, warnings), warnings,
    )  # fmt: skip
    files.write_text(page, report_page(report, Translator(lang)))
    return page


def finished_run(record: Path) -> tuple[FinishedMap, LayersRecord | None, list[str]]:
    """A finished map, the record of its layers if they are of this run, and a warning if they are not.

    Raises:
        InputMissing, DataError: as `FinishedMap.of`; or the layers' record is damaged.
    """
    run = FinishedMap.of(record)
    layers = LayersRecord.beside(record)
    if layers is None or layers.run_sha256 == file_hash(record):
        return run, layers, []
    name = Stem.of(record).path(LAYERS).name
    return run, None, [f"the layers {name} are of an earlier run and left out; make them again with --layers"]


def is_page(path: Path) -> bool:
    """Whether a file is a page that agriseg has written."""
    try:
        with path.open("rb") as file:
            return GENERATOR.encode() in file.read(_HEAD)
    except OSError as error:
        raise files.reading_error(path, error) from error


def _mask(run: FinishedMap, layers: LayersRecord | None) -> Path:
    """The mask of the layers, or else that of the run."""
    cleaned = f"{run.stem}_clean.tif"
    return run.folder / cleaned if layers and cleaned in layers.outputs else run.classes


def _earlier(previous: Path | None, record: Path, now: FinishedMap, warnings: list[str]) -> MapSummary | None:
    if previous is None:
        return None
    records = find_records(previous)
    if len(records) > 1:
        raise UsageError(
            f"--previous {previous}: holds {len(records)} maps; name the record of one, such as {records[0]}"
        )
    if records[0].samefile(record):
        raise UsageError(f"--previous {previous}: is the map itself; name that of an earlier date")
    run, layers, _ = finished_run(records[0])
    check_trend(run, now)
    warnings += limit_warnings(run, now)
    days = [each.record.input.acquired for each in (run, now)]
    if not all(days) or days[0] == days[1]:
        warnings.append("the dates of the two maps are unknown or equal; the map of --previous is taken as the earlier")
    return MapSummary.of(run, layers)


def _outlines(
    run: FinishedMap, layers: LayersRecord | None, picture: MapPicture, warnings: list[str]
) -> Iterator[Outline]:
    """Fields and zones of the GeoPackage."""
    if layers is None:
        return
    has_fields = len(recorded_areas(layers)) > len(run.legend)
    for layer, kind, wanted in (("fields", "field", has_fields), ("zones", "zone", bool(recorded_zones(layers)))):
        if wanted:
            shapes, names = _named_shapes(run.folder / f"{run.stem}.gpkg", layer)
            if len(shapes) > _MOST_OUTLINES:
                warnings.append(f"{len(shapes):,} {layer} are in the GeoPackage; the map on this page leaves them out")
                continue
            for shape, name in zip(shapes, names, strict=True):
                yield Outline(kind, name, outline(run, shape, picture.width, picture.height))


def _named_shapes(package: Path, layer: str) -> tuple[Sequence[Any], Sequence[str]]:
    try:
        features = read_layer(package, layer)
        return list(features.shapes), [str(name) for name in features.columns["name"]]
    except (KeyError, *OGR_ERRORS) as error:
        raise DataError(f"{package}: {reason(package, error)}; make the layers again with --layers") from error
