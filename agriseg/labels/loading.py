"""Load and check labels in any format, for `labels check`, `train` and `evaluate` alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agriseg import files
from agriseg.annotations.shapes import AnnotatedImage
from agriseg.errors import DataError, UsageError
from agriseg.labels.check import problems_of, remarks_of
from agriseg.labels.drawing import drawing_of_annotations, drawing_of_polygons
from agriseg.labels.label_set import LabelledImage, LabelOptions, LabelRequest, LabelSet
from agriseg.labels.pairs import Pair, annotation_files, find_pairs, match_annotations
from agriseg.labels.raster import LabelRaster, check_values, misfit, turned, turned_under_shapes
from agriseg.labels.rasterize import Drawn, rasterize_polygons, reproject_labels
from agriseg.legend import Legend
from agriseg.raster.header import RasterInfo
from agriseg.vectors.read import is_vector

_UNLABELLED = "nothing of it is labelled; --rest CLASS says what it is"


def load_labels(request: LabelRequest, folder: Path) -> LabelSet:
    """Find the labels of images, rasterize polygons and annotations, and check every pixel.

    Args:
        request: images, labels and what these mean.
        folder: for new label rasters; created if needed.

    Raises:
        UsageError: options that contradict the labels or each other.
        InputMissing: a path that does not exist, or a folder without rasters.
        DataError: images without labels or labels without images, all at once.
    """
    Legend.from_names(list(request.classes))  # refuses what no mask holds, before the labels are read
    if len(request.stored) != len(request.classes):
        raise UsageError(f"{len(request.stored)} values for {len(request.classes)} classes; give each class one")
    check_values(request.stored, request.options.unlabelled)
    given = _given(request)
    images, bad_images, bad_labels = [], [], []
    for pair in given.pairs:
        try:
            info = RasterInfo.read(pair.image)
        except DataError as error:
            bad_images.append(str(error))
            continue
        try:
            images.append(_checked(pair, info, given, folder))
        except DataError as error:
            bad_labels.append(str(error))
    return LabelSet(request, tuple(images), tuple(bad_images), tuple(bad_labels), given.remarks)


def label_raster(image: Path, given: Path, request: LabelRequest, out: Path) -> Drawn:
    """Rasterize polygons or annotations on the grid of an image.

    Args:
        image: has the grid.
        given: polygons, or an annotation file that names the image.
        request: classes and what the labels mean.
        out: the GeoTIFF to write: class ids, 255 for unlabelled.

    Raises:
        DataError: the file cannot be read, or has no labels of this image.
    """
    asked = replace(request, images=image, labels=given)
    found = _given(asked)
    if not found.drawn:
        raise UsageError(f"{given}: a label raster already; agriseg labels check looks at it")
    return _burnt(found.pairs[0], RasterInfo.read(image), found, out)


@dataclass(frozen=True)
class _Given:
    """Images with their label files, of any format.

    Args:
        request: the requested labels.
        pairs: in the order of the image names.
        drawn: whether the files have shapes.
        annotated: annotations of each image, if the files are annotations.
        remarks: warnings about images without annotations, and annotations without images.
    """

    request: LabelRequest
    pairs: Sequence[Pair]
    drawn: bool = False
    annotated: Mapping[Path, AnnotatedImage] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def _given(request: LabelRequest) -> _Given:
    """Match images with label files.

    Raises:
        UsageError: options of another kind of labels.
        InputMissing, DataError: as `load_labels`.
    """
    if files_there := annotation_files(request.images, request.labels, request.options.suffix):
        _check_drawn(request)
        if request.options.column is not None:
            raise UsageError(f"{request.labels}: annotations, which name their classes; leave --column out")
        found = match_annotations(request.images, files_there)
        pairs = [Pair(image, file, file) for image, (file, _) in found.drawn.items()]
        annotated = {image: each for image, (_, each) in found.drawn.items()}
        return _Given(request, pairs, drawn=True, annotated=annotated, remarks=found.remarks)
    if is_vector(request.labels):
        _check_drawn(request)
        if request.options.column is None:
            raise UsageError(f"{request.labels}: polygons; name the column that holds the class")
        return _Given(request, [Pair(request.images, request.labels, request.labels)], drawn=True)
    for name in ("column", "area", "rest", "rename", "point_radius"):
        if getattr(request.options, name) != getattr(LabelOptions(), name):
            flag = name.replace("_", "-")
            raise UsageError(f"{request.labels}: no polygons and no annotations, so leave --{flag} out")
    return _Given(request, find_pairs(request.images, request.labels, request.options.suffix))


def _check_drawn(request: LabelRequest) -> None:
    """Refuse options of label rasters."""
    if request.options.reproject:
        raise UsageError(f"{request.labels}: shapes, which are laid on the image anyway; leave --reproject-labels out")
    if any(isinstance(value, tuple) for value in (*request.stored, *request.options.unlabelled)):
        raise UsageError(f"{request.labels}: shapes have no colours; give numbers as --values, or leave them out")


def _checked(pair: Pair, image: RasterInfo, given: _Given, folder: Path) -> LabelledImage:
    """Check one image and its labels."""
    request = given.request
    pair, remarks = _on_grid(pair, image, given, folder)
    if given.drawn:
        labels = LabelRaster.of(pair.labels, range(len(request.classes)))
        place = turned_under_shapes(image, pair.given)
    else:
        labels = LabelRaster.of(pair.labels, request.stored, unlabelled=request.options.unlabelled)
        place = turned(image, labels.info) or misfit(image, labels.info)
    survey = labels.survey()
    problems = (*([place] if place else []), *problems_of(labels, survey, request.classes))
    return LabelledImage(
        pair, image, labels, survey, problems, (*remarks, *remarks_of(labels, survey, request.classes))
    )


def _burnt(pair: Pair, image: RasterInfo, given: _Given, out: Path) -> Drawn:
    """Rasterize the shapes of an image; with several images, remarks name the image."""
    request, alone = given.request, len(given.pairs) == 1
    annotated = given.annotated.get(pair.image)
    if annotated is None:
        drawing = drawing_of_polygons(image, pair.given, request)
    else:
        drawing = drawing_of_annotations(image, pair.given, annotated, request)
    drawn = rasterize_polygons(image, drawing, Legend.from_names(list(request.classes)), out, alone=alone)
    nothing = (
        []
        if drawing.shapes
        else ["no shape; " + (f"all is {request.options.rest}" if request.options.rest else _UNLABELLED)]
    )
    remarks = [text if alone else f"{pair.image.name}: {text}" for text in (*nothing, *drawn.remarks)]
    return Drawn(drawn.pixels, tuple(remarks))


def _on_grid(pair: Pair, image: RasterInfo, given: _Given, folder: Path) -> tuple[Pair, Sequence[str]]:
    """The pair with a label raster on the grid of the image, new in `folder` where needed; and remarks."""
    request, out = given.request, folder / f"{pair.image.stem}_labels.tif"
    if given.drawn:
        files.make_folder(folder)
        return Pair(pair.image, out, pair.given), _burnt(pair, image, given, out).remarks
    there = RasterInfo.read(pair.labels)
    placed = image.georeference.crs is not None and there.georeference.crs is not None
    if request.options.reproject and placed and misfit(image, there) is not None:
        files.make_folder(folder)
        reproject_labels(pair.image, pair.labels, out)
        return Pair(pair.image, out, pair.given), ()
    return pair, ()
