"""Load and check labels in any format, for `labels check`, `train` and `evaluate` alike."""

from dataclasses import replace
from pathlib import Path

from agriseg import files
from agriseg.errors import DataError, UsageError
from agriseg.labels.check import problems_of, remarks_of
from agriseg.labels.clicks import Clicks
from agriseg.labels.drawing import drawing_of_annotations, drawing_of_polygons
from agriseg.labels.label_set import LabelledImage, LabelRequest, LabelSet
from agriseg.labels.pairs import MatchedLabels, Pair, annotation_files, find_pairs, match_annotations
from agriseg.labels.raster import LabelRaster, check_values, misfit, turned, turned_under_shapes
from agriseg.labels.rasterize import Drawn, rasterize_polygons, reproject_labels
from agriseg.legend import Legend
from agriseg.options.labels import LabelOptions
from agriseg.raster.header import RasterInfo
from agriseg.vectors.read import is_vector

_UNLABELLED = "nothing of it is labelled; --rest CLASS says what it is"


def load_labels(request: LabelRequest, folder: Path) -> LabelSet:
    """Match images with labels, rasterize polygons and annotations into a folder, and check every pixel.

    Raises:
        UsageError: options that contradict the labels or each other.
        InputMissing: a path that does not exist, or a folder without rasters.
        DataError: images without labels or labels without images, all at once.
    """
    Legend.from_names(list(request.classes))  # refuses impossible classes before the labels are read
    if len(request.stored) != len(request.classes):
        raise UsageError(f"{len(request.stored)} values for {len(request.classes)} classes; give each class one")
    check_values(request.stored, request.options.unlabelled)
    matched = _matched(request)
    images, bad_images, bad_labels = [], [], []
    for pair in matched.pairs:
        try:
            info = RasterInfo.read(pair.image)
        except DataError as error:
            bad_images.append(str(error))
            continue
        try:
            images.append(_checked(pair, info, request, matched, folder))
        except DataError as error:
            bad_labels.append(str(error))
    return LabelSet(request, tuple(images), tuple(bad_images), tuple(bad_labels), matched.remarks)


def label_raster(image: Path, labels: Path, request: LabelRequest, out: Path) -> Drawn:
    """Rasterize polygons, or annotations that name an image, on its grid: class ids, 255 for unlabelled.

    Raises:
        UsageError: labels that are a raster, or options of another kind of labels.
        DataError: the file cannot be read, or has no labels of this image.
    """
    request = replace(request, images=image, labels=labels)
    matched = _matched(request)
    if not matched.drawn:
        raise UsageError(f"{labels}: a label raster already; agriseg labels check checks it")
    return _rasterized(matched.pairs[0], RasterInfo.read(image), request, matched, out)


def are_rasters(images: Path, labels: Path, label_suffix: str) -> bool:
    """Whether labels are rasters, and not polygons or annotations; DataError for damaged annotations."""
    return not is_vector(labels) and not annotation_files(images, labels, label_suffix)


def _matched(request: LabelRequest) -> MatchedLabels:
    """Match images with label files; options of another kind of labels are refused."""
    if annotations := annotation_files(request.images, request.labels, request.options.label_suffix):
        _check_no_raster_options(request)
        if request.options.column is not None:
            raise UsageError(f"{request.labels}: annotations, which name their classes; leave --column out")
        return match_annotations(request.images, annotations)
    if is_vector(request.labels):
        _check_no_raster_options(request)
        if request.options.column is None:
            raise UsageError(f"{request.labels}: polygons; name the column that holds the class")
        return MatchedLabels([Pair(request.images, request.labels, request.labels)], drawn=True)
    for name in ("column", "area", "rest", "rename", "point_radius", "grow"):
        if getattr(request.options, name) != getattr(LabelOptions(), name):
            flag = name.replace("_", "-")
            raise UsageError(f"{request.labels}: no polygons and no annotations, so leave --{flag} out")
    return MatchedLabels(find_pairs(request.images, request.labels, request.options.label_suffix))


def _check_no_raster_options(request: LabelRequest) -> None:
    if request.options.reproject_labels:
        raise UsageError(f"{request.labels}: shapes, which are laid on the image anyway; leave --reproject-labels out")
    if any(isinstance(value, tuple) for value in (*request.stored, *request.options.unlabelled)):
        raise UsageError(f"{request.labels}: shapes have no colours; give numbers as --values, or leave them out")


def _checked(
    pair: Pair, image: RasterInfo, request: LabelRequest, matched: MatchedLabels, folder: Path
) -> LabelledImage:
    pair, remarks, clicks = _on_grid(pair, image, request, matched, folder)
    if matched.drawn:
        labels = LabelRaster.of(pair.labels, range(len(request.classes)))
        place = turned_under_shapes(image, pair.source)
    else:
        labels = LabelRaster.of(pair.labels, request.stored, unlabelled=request.options.unlabelled)
        place = turned(image, labels.info) or misfit(image, labels.info)
    survey = labels.survey()
    problems = (*([place] if place else []), *problems_of(labels, survey, request.classes))
    remarks = (*remarks, *remarks_of(labels, survey, request.classes))
    return LabelledImage(pair, image, labels, survey, problems, remarks, clicks)


def _rasterized(pair: Pair, image: RasterInfo, request: LabelRequest, matched: MatchedLabels, out: Path) -> Drawn:
    """Rasterize the shapes of an image; with several images, remarks name the image."""
    alone, annotated = len(matched.pairs) == 1, matched.annotated.get(pair.image)
    if annotated is None:
        drawing = drawing_of_polygons(image, pair.source, request)
    else:
        drawing = drawing_of_annotations(image, pair.source, annotated, request)
    drawn = rasterize_polygons(image, drawing, Legend.from_names(list(request.classes)), out, alone=alone)
    remarks = list(drawn.remarks)
    if not drawing.shapes:
        remarks.insert(0, f"no shape; {f'all is {request.options.rest}' if request.options.rest else _UNLABELLED}")
    named = tuple(text if alone else f"{pair.image.name}: {text}" for text in remarks)
    return replace(drawn, remarks=named)


def _on_grid(
    pair: Pair, image: RasterInfo, request: LabelRequest, matched: MatchedLabels, folder: Path
) -> tuple[Pair, tuple[str, ...], Clicks]:
    """The pair with a label raster on the grid of the image, new in `folder` where needed; remarks, and the points."""
    out = folder / f"{pair.image.stem}_labels.tif"
    if matched.drawn:
        files.make_folder(folder)
        drawn = _rasterized(pair, image, request, matched, out)
        return Pair(pair.image, out, pair.source), drawn.remarks, drawn.clicks
    labels = RasterInfo.read(pair.labels)
    placed = image.georeference.crs is not None and labels.georeference.crs is not None
    if request.options.reproject_labels and placed and misfit(image, labels) is not None:
        files.make_folder(folder)
        reproject_labels(pair.image, pair.labels, out)
        return Pair(pair.image, out, pair.source), (), Clicks.none()
    return pair, (), Clicks.none()
