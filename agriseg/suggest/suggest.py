"""Suggest where to label next: map rasters with a model and rank their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agriseg import files
from agriseg.errors import DataError, InputMissing, UsageError
from agriseg.labels.pairs import rasters_of
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Progress
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.options.suggest import SuggestOptions
from agriseg.raster.header import RasterInfo
from agriseg.suggest.ranking import rank
from agriseg.suggest.survey import VALID, SurveyedImage, candidates_of, survey
from agriseg.suggest.todo import SuggestedBox, check_file, draw_boxes, picture_files, suggested, write_boxes

_DEFAULTS, _RUN_DEFAULTS = SuggestOptions(), RunOptions()


@dataclass(frozen=True)
class Suggestions:
    """Boxes to label.

    Args:
        boxes: the first to label first; fewer than asked for if there are no more.
        images: that they are numbered by.
        files: the file of boxes, and pictures of them.
        candidates: boxes that could be chosen.
    """

    boxes: tuple[SuggestedBox, ...]
    images: tuple[SurveyedImage, ...]
    files: tuple[Path, ...]
    candidates: int


def images_of(paths: Sequence[Path]) -> list[Path]:
    """The images, and the rasters of folders.

    Raises:
        InputMissing: a folder without rasters.
        UsageError: two images with one stem, by which their boxes are told apart.
    """
    images: dict[str, Path] = {}
    for path in paths:
        found = list(rasters_of(path).values()) if path.is_dir() else [path]
        if not found:
            raise InputMissing(f"{path}: no rasters in this folder; name another, or the images")
        for image in found:
            if image.stem in images:
                raise UsageError(f"{images[image.stem]} and {image} have one name; suggest boxes of them in two runs")
            images[image.stem] = image
    return list(images.values())


def check_outputs(path: Path, images: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse, before any work, a file that cannot hold the boxes, or that exists.

    Raises:
        UsageError: as `check_file`; or an output is an input.
        OutputError: an output exists and may not be replaced.
        AgrisegError: an image that cannot be read.
    """
    check_file(path, images, [RasterInfo.read(image).georeference.crs for image in images])
    for each in (path, *picture_files(path, images)):
        if any(each.exists() and each.samefile(image) for image in images):
            raise UsageError(f"{each}: the output is an input; choose another -o")
        if each.exists() and not overwrite:
            raise files.exists_error(each)


def suggest(
    images: Sequence[Path], model: SegmentationModel, path: Path, options: SuggestOptions = _DEFAULTS,
    run_options: RunOptions = _RUN_DEFAULTS, progress: Progress | None = None,
) -> Suggestions:  # fmt: skip
    """Map images with a model, choose boxes to label, and write them with a picture of each image.

    Args:
        path: the file of boxes, `.gpkg` or `.geojson`; what is there is replaced.
        progress: called with the tiles that are done, and all.

    Raises:
        DataError: no box holds enough data, or all are labelled already.
        AgrisegError: as a run of each image.
    """
    files.make_folder(path.parent)
    surveyed = _surveyed(images, model, path.parent, options, run_options, progress or (lambda _done, _total: None))
    candidates = candidates_of(surveyed)
    if not candidates.free.any():
        raise _nothing_left(surveyed, options, labelled=bool((candidates.labelled & candidates.valid).any()))
    boxes = suggested(rank(candidates, options.count), candidates, surveyed, model.legend)
    pictures = []
    for number, picture in enumerate(picture_files(path, images)):
        if own := [box for box in boxes if box.image == number]:
            draw_boxes(picture, surveyed[number], own)
            pictures.append(picture)
    write_boxes(path, boxes, surveyed)
    return Suggestions(tuple(boxes), tuple(surveyed), (path, *pictures), int(candidates.free.sum()))


def _surveyed(
    images: Sequence[Path], model: SegmentationModel, folder: Path, options: SuggestOptions, run_options: RunOptions,
    progress: Progress,
) -> list[SurveyedImage]:  # fmt: skip
    """The boxes of each image; all images are checked before the first is mapped."""
    total, done = sum(prepare(image, model, run_options).plan.tiles for image in images), 0
    surveyed = []
    for image in images:
        job = prepare(image, model, run_options)
        surveyed.append(survey(job, options, folder, partial(_after, progress, done, total)))
        done += job.plan.tiles
    return surveyed


def _after(progress: Progress, before: int, total: int, done: int, _of: int) -> None:
    """Tell the progress of all images from that of one."""
    progress(before + done, total)


def _nothing_left(images: Sequence[SurveyedImage], options: SuggestOptions, *, labelled: bool) -> DataError:
    names = images[0].image if len(images) == 1 else f"{images[0].image} and {len(images) - 1} more"
    if labelled:
        return DataError(f"{names}: every box of {options.box} is labelled already; name other images")
    return DataError(
        f"{names}: no box of {options.box} holds data on {VALID:.0%} of its pixels; give a smaller --box such as 64px"
    )
