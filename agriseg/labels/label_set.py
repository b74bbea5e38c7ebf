"""Requested labels, and the labelled images that belong to them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agriseg.errors import DataError
from agriseg.labels.check import nowhere, reserved_hint, too_few, untrained, veiled
from agriseg.labels.pairs import Pair
from agriseg.labels.raster import LabelRaster, Survey, Value
from agriseg.raster.header import RasterInfo


@dataclass(frozen=True)
class LabelOptions:
    """How labels are found and what they mean.

    Args:
        suffix: what the stem of a label file has behind the stem of its image, such as `_mask`.
        values: number, or red, green and blue, of each class in label rasters; None for 0, 1, 2, ...
        unlabelled: numbers or colours that mean unlabelled, beside 255.
        column: of polygons, with names or numbers of classes.
        area: polygons within which everything is labelled.
        rest: class of the ground under no shape where everything is labelled: within `area`, or on the whole image.
            None leaves that ground unlabelled; within `area` it is then the first class.
        rename: (name in annotations or polygons, class) pairs; an empty class means unlabelled.
        point_radius: radius of the discs that points become, and half the width of lines, such as `8px` or `5cm`.
        reproject: resample label rasters of another grid or CRS to the grid of their image, nearest neighbour.
    """

    suffix: str = ""
    values: tuple[Value, ...] | None = None
    unlabelled: tuple[Value, ...] = ()
    column: str | None = None
    area: Path | None = None
    rest: str | None = None
    rename: tuple[tuple[str, str], ...] = ()
    point_radius: str | None = None
    reproject: bool = False


@dataclass(frozen=True)
class LabelRequest:
    """Images, their labels and what these mean.

    Args:
        images: a raster, or a folder of rasters.
        labels: label raster, polygons or annotations, or the folder of them.
        classes: names in order.
        options: how the labels are found and what they mean.
        least: number of classes that must have pixels; a training needs two.
    """

    images: Path
    labels: Path
    classes: tuple[str, ...]
    options: LabelOptions = LabelOptions()
    least: int = 2

    @property
    def stored(self) -> tuple[Value, ...]:
        """Label value of each class."""
        return tuple(range(len(self.classes))) if self.options.values is None else self.options.values


@dataclass(frozen=True)
class LabelledImage:
    """An image with its label raster, checked.

    Args:
        pair: the image, its label raster and the file that this was made of.
        info: header of the image.
        labels: on the grid of the image, unless there is a problem.
        survey: pixel counts of the labels.
        problems: stop a training or an evaluation.
        remarks: warnings.
    """

    pair: Pair
    info: RasterInfo
    labels: LabelRaster
    survey: Survey
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """All images with their labels, checked.

    Args:
        request: the requested labels.
        images: in the order of their names.
        bad_images: errors of images that cannot be read.
        bad_labels: errors of labels that cannot be read.
        unmatched: remarks on images without annotations, and annotations without images.
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
        found = found or too_few(self.pixels, self.request.least, self._hint)
        return tuple(found or (untrained(self.pixels, self._hint) if self.request.least > 1 else ()))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should look at."""
        found = (*self.unmatched, *(text for each in self.images for text in each.remarks))
        return (*found, *self.nowhere)

    @property
    def nowhere(self) -> tuple[str, ...]:
        """The remarks on classes without a label."""
        return tuple(nowhere(self.pixels, self._hint)) if self.images else ()

    @property
    def pixels(self) -> dict[str, int]:
        """Class name to labelled pixels."""
        counts = np.sum([each.survey.pixels for each in self.images], axis=0, initial=0, dtype=np.int64)
        counts = np.broadcast_to(counts, len(self.request.classes))
        return dict(zip(self.request.classes, counts.tolist(), strict=True))

    @property
    def _hint(self) -> str:
        """A hint for a class without pixels."""
        reserved = sum(each.survey.reserved for each in self.images)
        return reserved_hint(self.pixels, self.request.stored, reserved)

    @property
    def ignored(self) -> int:
        """Number of unlabelled pixels."""
        return sum(each.survey.ignored for each in self.images)

    def refuse(self) -> None:
        """Raise if there are problems.

        Raises:
            DataError: with all of them.
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
