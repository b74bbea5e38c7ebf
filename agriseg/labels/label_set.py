"""Requested labels, and the labelled images that belong to them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agriseg.errors import DataError
from agriseg.labels.check import missing_classes, reserved_hint, too_few_classes, transparent_classes
from agriseg.labels.clicks import ClickCount, Clicks, click_counts
from agriseg.labels.pairs import Pair
from agriseg.labels.raster import LabelRaster, Survey
from agriseg.options.labels import LabelOptions, Value
from agriseg.raster.header import RasterInfo


@dataclass(frozen=True)
class LabelRequest:
    """Images and their labels.

    Args:
        images: a raster, or a folder of rasters.
        labels: a label raster, polygons or annotations, or a folder of them.
        classes: names in order.
        least: number of classes that must have pixels; a training needs two.
    """

    images: Path
    labels: Path
    classes: tuple[str, ...]
    options: LabelOptions = field(default_factory=LabelOptions)
    least: int = 2

    @property
    def stored(self) -> tuple[Value, ...]:
        """Label value of each class."""
        return tuple(range(len(self.classes))) if self.options.values is None else self.options.values


@dataclass(frozen=True)
class LabelledImage:
    """An image with its label raster, checked.

    Args:
        info: header of the image.
        labels: on the grid of the image, unless there is a problem.
        problems: errors that stop a training or an evaluation.
        remarks: warnings.
        clicks: the points among its labels.
    """

    pair: Pair
    info: RasterInfo
    labels: LabelRaster
    survey: Survey
    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    clicks: Clicks


@dataclass(frozen=True)
class LabelSet:
    """All images with their labels, checked.

    Args:
        images: in the order of their names.
        bad_images, bad_labels: errors of images and of labels that cannot be read.
        unmatched: warnings about images without annotations, and annotations without images.
    """

    request: LabelRequest
    images: tuple[LabelledImage, ...]
    bad_images: tuple[str, ...] = ()
    bad_labels: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Errors that stop a training or an evaluation."""
        errors = [*self.bad_images, *self.bad_labels, *(text for each in self.images for text in each.problems)]
        errors = errors or transparent_classes([each.survey for each in self.images], self.request.classes)
        errors = errors or too_few_classes(self.pixels, self.request.least, self._hint)
        return tuple(errors or (missing_classes(self.pixels, self._hint) if self.request.least > 1 else ()))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings."""
        missing = [name for name, count in self.pixels.items() if self.images and not count]
        return (
            *self.unmatched,
            *(text for each in self.images for text in each.remarks),
            *(f"class {name} is nowhere: no label has it{self._hint}" for name in missing),
        )

    @property
    def pixels(self) -> dict[str, int]:
        """Labelled pixels by class name."""
        counts = sum((each.survey.pixels for each in self.images), np.zeros(len(self.request.classes), np.int64))
        return dict(zip(self.request.classes, counts.tolist(), strict=True))

    @property
    def clicks(self) -> dict[str, ClickCount]:
        """What became of the points among the labels, by the name of each class that has any."""
        return click_counts([each.clicks for each in self.images], self.request.classes)

    @property
    def _hint(self) -> str:
        reserved = sum(each.survey.reserved for each in self.images)
        return reserved_hint(self.pixels, self.request.stored, reserved)

    @property
    def ignored(self) -> int:
        """Number of unlabelled pixels."""
        return sum(each.survey.ignored for each in self.images)

    def refuse(self) -> None:
        """Raise `DataError` with all problems, if there are any."""
        if self.problems:
            raise DataError("; ".join(self.problems))
