"""The layers of a finished map: a tuple of layers, each of which builds its files, facts and features."""

from pathlib import Path

from rasterio.enums import Resampling

from agriseg import files
from agriseg.analysis import area_table, scouting, severity, trial_plots, zones
from agriseg.analysis.area_interval import ErrorMatrix, other_making
from agriseg.analysis.layer import LayerContext, LayerResult, MapLayer, StyledFeatures, read_polygons
from agriseg.analysis.metric_grid import metric_transform
from agriseg.analysis.postprocess import clean
from agriseg.analysis.record import LayersRecord, record_values
from agriseg.errors import UsageError
from agriseg.maps.publish import PublishedFiles, publish
from agriseg.maps.reader import ClippedMap, FinishedMap, MaskLayer, MaskSource
from agriseg.maps.stem import LAYERS, Stem
from agriseg.options.layers import LayerOptions
from agriseg.raster.cog import Layer
from agriseg.raster.pam import PAM
from agriseg.raster.qml import category_names, qgis_style
from agriseg.vectors.qml import categorized_style
from agriseg.vectors.read import Field
from agriseg.vectors.write import write_features, write_geopackage


def build_class_polygons(context: LayerContext) -> LayerResult:
    """Add the polygons of all classes, and write them in the other formats of the options."""
    polygons = context.polygons
    features = context.features("classes", polygons.shapes, polygons.columns)
    for format_ in context.options.formats:
        write_features(context.path(f"_classes.{format_}"), features)
    return LayerResult(features=(StyledFeatures(features, categorized_style(context.run.legend, "class_name")),))


MAP_LAYERS = (
    MapLayer(area_table.build, area_table.report_table),
    MapLayer(build_class_polygons),
    MapLayer(trial_plots.build),
    MapLayer(severity.build),
    MapLayer(scouting.build),
    MapLayer(zones.build, zones.report_table),
)
"""All layers, in the order of their facts, warnings and tables of the report. A new layer is a line here."""


def options_of(run_record: Path) -> LayerOptions:
    """The options that the layers of a map were made with, or those of a map without layers.

    Raises:
        DataError: the layers' record is damaged.
    """
    record = LayersRecord.beside(run_record)
    if record is None:
        return LayerOptions()
    return LayerOptions.of(**{name: value for name, value in record.options.items() if value not in (None, [], "")})


def make_layers(record: Path, options: LayerOptions, *, overwrite: bool = False) -> PublishedFiles:
    """Make the layers of a map from the record of its run; `overwrite` replaces those that exist.

    Raises:
        AgrisegError: its children tell what went wrong; no layer is published then.
    """
    run = FinishedMap.of(record)
    return publish(
        Stem.of(record), LAYERS, lambda folder: record_values(record, options, *_build_all(run, options, folder)),
        overwrite=overwrite,
    )  # fmt: skip


def _build_all(run: FinishedMap, options: LayerOptions, folder: Path) -> tuple[dict[str, object], list[str]]:
    """Write the files of all layers into a folder; returns the facts by name, and warnings."""
    context, warnings = _context(run, options, folder)
    results = [result for layer in MAP_LAYERS if (result := layer.build(context)) is not None]
    styled = [each for result in results for each in result.features]
    styled.sort(key=lambda each: each.features.name != "classes")  # viewers open the first layer
    styles = {each.features.name: each.style for each in styled}
    write_geopackage(context.path(".gpkg"), [each.features for each in styled], styles)
    facts = {name: value for result in results for name, value in result.facts.items()}
    return facts, [*warnings, *(text for result in results for text in result.warnings)]


def _context(run: FinishedMap, options: LayerOptions, folder: Path) -> tuple[LayerContext, list[str]]:
    """What the layers are built from, and warnings about it."""
    ground = area_table.ground_classes(run.legend, options.ground)
    affected = tuple(area_table.class_id(run.legend, name, "--affected") for name in options.affected or ())
    warnings, fields = run.doubts, list[Field]()
    if options.fields is not None:
        fields, outside = read_polygons(run, "--fields", options.fields, options.field_id)
        warnings += outside
    source: MaskSource = ClippedMap(run, tuple(field.shape for field in fields)) if fields else run
    if options.mmu or options.smooth:
        cleaned = clean(source, folder, options.mmu, _smooth_pixels(source, options.smooth))
        warnings += cleaned.notes
        source = cleaned
    agreement, reason = _agreement(run, options)
    warnings += [] if reason is None else [f"no hectares by validation: {reason}"]
    context = LayerContext(run, options, folder, source, tuple(fields), ground, affected, agreement)
    if source is not run:
        _write_mask(context)
    return context, warnings


def _smooth_pixels(source: MaskSource, metres: float) -> int:
    """Pixels from the middle of the smoothing window to its edge; 0 for none."""
    side: float = min(metric_transform(source).a, metric_transform(source).e)
    pixels = round(metres / side)
    if metres and not pixels:
        raise UsageError(f"--smooth {metres:g} m is less than half a pixel of the map; give {side:.3g} m or more")
    return pixels


def _agreement(run: FinishedMap, options: LayerOptions) -> tuple[ErrorMatrix | None, str | None]:
    """Agreement of the run's model with its labels, and why it does not hold for this map; None without either."""
    values = (run.record.model.evaluation or {}).get("agreement")
    if values is None:
        return None, None
    cleaned = bool(options.mmu or options.smooth)
    if reason := other_making(run.record, run.georeference.gsd(run.width, run.height), cleaned=cleaned):
        return None, reason
    return ErrorMatrix.from_dict(values, len(run.legend)), None


def _write_mask(context: LayerContext) -> None:
    """Write the clipped or cleaned mask that the layers are made of."""
    legend = context.run.legend
    layer = Layer(
        "clean", context.source.georeference, ("class",), Resampling.mode, legend.colormap,
        tags={"AREA_OR_POINT": "Area"}, band_tags=legend.tags,
    )  # fmt: skip
    path = context.write_raster(layer, MaskLayer(context.source))
    files.write_text(context.path("_clean.qml"), qgis_style(legend))
    files.write_text(context.path(f"_clean.tif{PAM}"), category_names(legend, path))
