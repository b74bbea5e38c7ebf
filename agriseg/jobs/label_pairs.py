"""Images with their labels, as people have them: the one look that `labels check`, `train` and `evaluate` share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agriseg import files
from agriseg.annotations.shapes import Annotated
from agriseg.errors import DataError, UsageError
from agriseg.jobs.drawings import annotations_on, polygons_on
from agriseg.jobs.label_findings import nowhere, problems_of, remarks_of, reserved_hint, too_few, veiled
from agriseg.jobs.labels import Drawn, align, burn
from agriseg.legend import Legend
from agriseg.raster.info import RasterInfo
from agriseg.training.annotated import annotation_files, find_annotated
from agriseg.training.labels import Labels, Survey, Value, check_values, misfit
from agriseg.training.pairs import Pair, find_pairs
from agriseg.vectors.polygons import is_vector

_UNLABELLED = "nothing of it is labelled; --rest CLASS says what it is"


@dataclass(frozen=True)
class LabelRequest:
    """Which labels belong to which images, and what they mean.

    Args:
        images, labels, suffix: as `find_pairs`; or one image and polygons.
        classes: names in order.
        values: for each class its number or its red, green and blue in label rasters; None for 0, 1, 2, ...
        unlabelled: numbers or colours that mean that nobody knows, beside 255.
        column: of polygons, that holds names or numbers of classes.
        area: polygons within which all was labelled.
        rest: class of what no shape covers, where all was labelled: within `area`, or on the whole image. None leaves
            it unlabelled, and within `area` it is the first class.
        rename: names of classes in annotations or polygons, and what to call them; empty for unlabelled.
        point_radius: of the discs that points become, and half the width of lines, such as `8px` or `5cm`.
        reproject: lay label rasters of another grid or CRS on their images', by the nearest label.
        least: classes that must have pixels; a training needs two.
    """

    images: Path
    labels: Path
    classes: tuple[str, ...]
    suffix: str = ""
    values: tuple[Value, ...] | None = None
    unlabelled: tuple[Value, ...] = ()
    column: str | None = None
    area: Path | None = None
    reproject: bool = False
    least: int = 2
    rest: str | None = None
    rename: tuple[tuple[str, str], ...] = ()
    point_radius: str | None = None

    @property
    def stored(self) -> tuple[Value, ...]:
        """Label value of each class."""
        return tuple(range(len(self.classes))) if self.values is None else self.values


@dataclass(frozen=True)
class LabelledImage:
    """An image with its label raster, and what a look at them gave.

    Args:
        pair: the image, its label raster and the file that a person gave.
        info: the image's header.
        labels: on the image's grid, unless a problem says otherwise.
        survey: what the labels store.
        problems: what stops a training or an evaluation.
        remarks: what a person should look at.
    """

    pair: Pair
    info: RasterInfo
    labels: Labels
    survey: Survey
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """All images with their labels, and what a look at them gave.

    Args:
        request: what was asked for.
        images: in the order of their names.
        bad_images: why images cannot be read.
        bad_labels: why labels cannot be read.
        unmatched: what is said of images without annotations, and annotations without images.
    """

    request: LabelRequest
    images: tuple[LabelledImage, ...]
    bad_images: tuple[str, ...] = ()
    bad_labels: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What stops a training or an evaluation."""
        found = [*self.bad_images, *self.bad_labels, *(text for each in self.images for text in each.problems)]
        if not found and self.images:
            found = veiled([each.survey for each in self.images], self.request.classes)
        return tuple(found or too_few(self.pixels, self.request.least, self._hint))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should look at."""
        found = [*self.unmatched, *(text for each in self.images for text in each.remarks)]
        return (*found, *(nowhere(self.pixels, self._hint) if self.images else ()))

    @property
    def pixels(self) -> dict[str, int]:
        """Class name to labelled pixels."""
        counts = np.sum([each.survey.pixels for each in self.images], axis=0, initial=0, dtype=np.int64)
        counts = np.broadcast_to(counts, len(self.request.classes))
        return dict(zip(self.request.classes, counts.tolist(), strict=True))

    @property
    def _hint(self) -> str:
        """What may be meant where a class has no pixel."""
        reserved = sum(each.survey.reserved for each in self.images)
        return reserved_hint(self.pixels, self.request.stored, reserved)

    @property
    def ignored(self) -> int:
        """Pixels that nobody labelled."""
        return sum(each.survey.ignored for each in self.images)

    def refuse(self) -> None:
        """Stop where there are problems.

        Raises:
            DataError: tells them all.
        """
        if self.problems:
            raise DataError("; ".join(self.problems))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "problems": list(self.problems), "remarks": list(self.remarks), "pixels": self.pixels,
            "ignored": self.ignored,
            "files": [
                {
                    "image": str(each.pair.image), "labels": str(each.pair.given),
                    "pixels": dict(zip(self.request.classes, each.survey.pixels.tolist(), strict=True)),
                    "ignored": each.survey.ignored,
                }
                for each in self.images
            ],
        }  # fmt: skip


def take_labels(request: LabelRequest, folder: Path) -> LabelSet:
    """Find the labels of images, make label rasters of those that are none, and look at every pixel of them.

    Args:
        request: which labels, and what they mean.
        folder: for label rasters that are made; exists as soon as there is one.

    Raises:
        UsageError: options that contradict the labels or each other.
        InputMissing: a path that does not exist, or a folder without rasters.
        DataError: images without labels or labels without images, all at once.
    """
    if len(request.stored) != len(request.classes):
        raise UsageError(f"{len(request.stored)} values for {len(request.classes)} classes; give each class one")
    check_values(request.stored, request.unlabelled)
    given = _given(request)
    images, bad_images, bad_labels = [], [], []
    for pair in given.pairs:
        try:
            info = RasterInfo.read(pair.image)
        except DataError as error:
            bad_images.append(str(error))
            continue
        try:
            images.append(_looked(pair, info, given, folder))
        except DataError as error:
            bad_labels.append(str(error))
    return LabelSet(request, tuple(images), tuple(bad_images), tuple(bad_labels), given.remarks)


def label_raster(image: Path, given: Path, request: LabelRequest, out: Path) -> Drawn:
    """Make a label raster on an image's grid of a file that is none.

    Args:
        image: gives the grid.
        given: polygons, or a file of annotations that names the image.
        request: the classes and what tells them.
        out: the GeoTIFF to write: class ids, 255 where nobody knows.

    Raises:
        DataError: the file cannot be read, or does not label this image.
    """
    asked = replace(request, images=image, labels=given)
    found = _given(asked)
    if not found.drawn:
        raise UsageError(f"{given}: a label raster already; agriseg labels check looks at it")
    return _burnt(found.pairs[0], RasterInfo.read(image), found, out)


@dataclass(frozen=True)
class _Given:
    """Images with the files that label them, of any kind.

    Args:
        request: what was asked for.
        pairs: in the order of the images' names.
        drawn: whether the files hold shapes.
        annotated: what a tool for annotation says of an image.
        remarks: images that one side alone has.
    """

    request: LabelRequest
    pairs: Sequence[Pair]
    drawn: bool = False
    annotated: Mapping[Path, Annotated] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def _given(request: LabelRequest) -> _Given:
    """Find what labels what.

    Raises:
        UsageError: options of another kind of labels.
        InputMissing, DataError: as `take_labels`.
    """
    if files_there := annotation_files(request.images, request.labels, request.suffix):
        _check_drawn(request)
        if request.column is not None:
            raise UsageError(f"{request.labels}: annotations, which name their classes; leave --column out")
        found = find_annotated(request.images, files_there)
        pairs = [Pair(image, file, file) for image, (file, _) in found.drawn.items()]
        annotated = {image: each for image, (_, each) in found.drawn.items()}
        return _Given(request, pairs, drawn=True, annotated=annotated, remarks=found.remarks)
    if is_vector(request.labels):
        _check_drawn(request)
        if request.column is None:
            raise UsageError(f"{request.labels}: polygons; name the column that holds the class")
        return _Given(request, [Pair(request.images, request.labels, request.labels)], drawn=True)
    for flag, value in (
        ("column", request.column), ("area", request.area), ("rest", request.rest), ("rename", request.rename or None),
        ("point-radius", request.point_radius),
    ):  # fmt: skip
        if value is not None:
            raise UsageError(f"{request.labels}: no polygons and no annotations, so leave --{flag} out")
    return _Given(request, find_pairs(request.images, request.labels, request.suffix))


def _check_drawn(request: LabelRequest) -> None:
    """Refuse options of label rasters."""
    if request.reproject:
        raise UsageError(f"{request.labels}: shapes, which are laid on the image anyway; leave --reproject-labels out")
    if any(isinstance(value, tuple) for value in (*request.stored, *request.unlabelled)):
        raise UsageError(f"{request.labels}: shapes have no colours; give numbers as --values, or leave them out")


def _looked(pair: Pair, image: RasterInfo, given: _Given, folder: Path) -> LabelledImage:
    """Look at one image and its labels."""
    request = given.request
    pair, remarks = _on_grid(pair, image, given, folder)
    if given.drawn:
        labels = Labels.of(pair.labels, range(len(request.classes)))
    else:
        labels = Labels.of(pair.labels, request.stored, unlabelled=request.unlabelled)
    survey = labels.survey()
    fit = misfit(image, labels.info)
    problems = (*([fit] if fit else []), *problems_of(labels, survey, request.classes))
    return LabelledImage(
        pair, image, labels, survey, problems, (*remarks, *remarks_of(labels, survey, request.classes))
    )


def _burnt(pair: Pair, image: RasterInfo, given: _Given, out: Path) -> Drawn:
    """Burn the shapes of an image; of several images, remarks say which."""
    request, alone = given.request, len(given.pairs) == 1
    annotated = given.annotated.get(pair.image)
    if annotated is None:
        drawing = polygons_on(image, pair.given, request)
    else:
        drawing = annotations_on(image, pair.given, annotated, request)
    drawn = burn(image, drawing, Legend.from_names(list(request.classes)), out, alone=alone)
    nothing = [] if drawing.shapes else ["no shape; " + (f"all is {request.rest}" if request.rest else _UNLABELLED)]
    remarks = [text if alone else f"{pair.image.name}: {text}" for text in (*nothing, *drawn.remarks)]
    return Drawn(drawn.pixels, tuple(remarks))


def _on_grid(pair: Pair, image: RasterInfo, given: _Given, folder: Path) -> tuple[Pair, Sequence[str]]:
    """The pair with a label raster on the image's grid, made in `folder` where the labels are none; and remarks."""
    request, out = given.request, folder / f"{pair.image.stem}_labels.tif"
    if given.drawn:
        files.make_folder(folder)
        return Pair(pair.image, out, pair.given), _burnt(pair, image, given, out).remarks
    if request.reproject and misfit(image, RasterInfo.read(pair.labels)) is not None:
        files.make_folder(folder)
        align(pair.image, pair.labels, out)
        return Pair(pair.image, out, pair.given), ()
    return pair, ()
