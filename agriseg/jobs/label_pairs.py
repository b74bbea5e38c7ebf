"""Images with their labels, as people have them: the one look that `labels check`, `train` and `evaluate` share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agriseg import files
from agriseg.errors import DataError, UsageError
from agriseg.jobs.label_findings import nowhere, problems_of, remarks_of, reserved_hint, too_few, veiled
from agriseg.jobs.labels import align, burn
from agriseg.legend import Legend
from agriseg.raster.info import RasterInfo
from agriseg.training.labels import Labels, Survey, Value, check_values, misfit
from agriseg.training.pairs import Pair, find_pairs
from agriseg.vectors.polygons import is_vector


@dataclass(frozen=True)
class LabelRequest:
    """Which labels belong to which images, and what they mean.

    Args:
        images, labels, suffix: as `find_pairs`; or one image and polygons.
        classes: names in order.
        values: for each class its number or its red, green and blue in label rasters; None for 0, 1, 2, ...
        unlabelled: numbers or colours that mean that nobody knows, beside 255.
        column: of polygons, that holds class names.
        area: polygons within which all was labelled.
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
    """

    request: LabelRequest
    images: tuple[LabelledImage, ...]
    bad_images: tuple[str, ...] = ()
    bad_labels: tuple[str, ...] = ()

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
        found = [text for each in self.images for text in each.remarks]
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
    _check_kind(request)
    images, bad_images, bad_labels = [], [], []
    for pair in _given(request):
        try:
            info = RasterInfo.read(pair.image)
        except DataError as error:
            bad_images.append(str(error))
            continue
        try:
            images.append(_looked(pair, info, request, folder))
        except DataError as error:
            bad_labels.append(str(error))
    return LabelSet(request, tuple(images), tuple(bad_images), tuple(bad_labels))


def label_raster(image: Path, given: Path, request: LabelRequest, out: Path) -> Sequence[str]:
    """Make a label raster on an image's grid of a file that is none.

    Args:
        image: gives the grid.
        given: polygons.
        request: the classes and what tells them.
        out: the GeoTIFF to write: class ids, 255 where nobody knows.

    Returns:
        What a person should look at.

    Raises:
        DataError: the file cannot be read, or does not label this image.
    """
    if request.column is None:
        raise UsageError(f"{given}: polygons; name the column that holds the class")
    legend = Legend.from_names(list(request.classes))
    return burn(image, given, request.column, legend, out, area=request.area).remarks


def _check_kind(request: LabelRequest) -> None:
    """Refuse options of polygons with label rasters, and the other way round."""
    if is_vector(request.labels):
        if request.column is None:
            raise UsageError(f"{request.labels}: polygons; name the column that holds the class")
        if request.values is not None or request.unlabelled:
            raise UsageError("values and unlabelled are of label rasters; polygons name their class, so leave them out")
    elif request.column is not None or request.area is not None:
        raise UsageError(f"{request.labels}: no polygons, so leave the class column and the area out")


def _given(request: LabelRequest) -> list[Pair]:
    """Images with the files that label them, of any kind."""
    if is_vector(request.labels):
        return [Pair(request.images, request.labels, request.labels)]
    return find_pairs(request.images, request.labels, request.suffix)


def _looked(pair: Pair, image: RasterInfo, request: LabelRequest, folder: Path) -> LabelledImage:
    """Look at one image and its labels."""
    pair, remarks = _on_grid(pair, image, request, folder)
    values = range(len(request.classes)) if is_vector(pair.given) else request.stored
    labels = Labels.of(pair.labels, values, unlabelled=request.unlabelled)
    survey = labels.survey()
    fit = misfit(image, labels.info)
    problems = (*([fit] if fit else []), *problems_of(labels, survey, request.classes))
    return LabelledImage(
        pair, image, labels, survey, problems, (*remarks, *remarks_of(labels, survey, request.classes))
    )


def _on_grid(pair: Pair, image: RasterInfo, request: LabelRequest, folder: Path) -> tuple[Pair, Sequence[str]]:
    """The pair with a label raster on the image's grid, made in `folder` where the labels are none; and remarks."""
    out = folder / f"{pair.image.stem}_labels.tif"
    if is_vector(pair.given):
        files.make_folder(folder)
        return Pair(pair.image, out, pair.given), label_raster(pair.image, pair.given, request, out)
    if request.reproject and misfit(image, RasterInfo.read(pair.labels)) is not None:
        files.make_folder(folder)
        align(pair.image, pair.labels, out)
        return Pair(pair.image, out, pair.given), ()
    return pair, ()
