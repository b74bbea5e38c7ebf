"""The file of suggested boxes: their outlines, numbers and reasons, in the order in which to label them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from agriseg.errors import UsageError
from agriseg.figures.charts import save_boxes
from agriseg.grid import Window
from agriseg.legend import Legend
from agriseg.suggest.ranking import Candidates, Choice, overall
from agriseg.suggest.survey import SurveyedImage
from agriseg.vectors.features import Features
from agriseg.vectors.write import write_features, write_geopackage

LAYER = "boxes"
"""Layer of the boxes of a lone image; those of several images have a layer each, named by the image's stem."""
SUFFIXES = (".gpkg", ".geojson")
_HIGH = 0.75  # share of the free boxes that a number exceeds to be a reason
_RARE = 0.1  # share of a class in all boxes, below which it is called rare


@dataclass(frozen=True)
class SuggestedBox:
    """A box to label.

    Args:
        rank: from 1, the first to label.
        image: number of the image.
        window: pixels of the grid that the model maps the image on.
        why: for the person who labels.
        entropy, rarity, distance: see `Choice`.
    """

    rank: int
    image: int
    window: Window
    why: str
    entropy: float
    rarity: float
    distance: float


def suggested(
    choices: Sequence[Choice], candidates: Candidates, images: Sequence[SurveyedImage], legend: Legend
) -> list[SuggestedBox]:
    """The chosen boxes with their reasons."""
    firsts = np.cumsum([0, *(len(each.grid) for each in images)])
    boxes = []
    for rank, choice in enumerate(choices, 1):
        image = int(candidates.image[choice.box])
        window = images[image].grid.window(choice.box - int(firsts[image]))
        why = reasons(choice, candidates, legend)
        boxes.append(SuggestedBox(rank, image, window, why, choice.entropy, choice.rarity, choice.distance))
    return boxes


def reasons(choice: Choice, candidates: Candidates, legend: Legend) -> str:
    """Why a box was chosen: each of its numbers that most boxes fall below, or else the highest of them."""
    texts = _unsure(choice, candidates, legend), _rare(choice, candidates, legend), "unlike the boxes before it"
    high = [text for text, share in zip(texts, choice.exceeds, strict=True) if share >= _HIGH]
    return "; ".join(high or [texts[int(np.argmax(choice.exceeds))]])


def _unsure(choice: Choice, candidates: Candidates, legend: Legend) -> str:
    """The two classes that the model confuses most in a box."""
    second, first = np.argsort(candidates.statistics.doubts[choice.box], kind="stable")[-2:]
    return f"unsure between {legend.names[first]} and {legend.names[second]}"


def _rare(choice: Choice, candidates: Candidates, legend: Legend) -> str:
    """The class that a box has most of, compared with all boxes."""
    usual = overall(candidates.statistics, candidates.valid)
    most = int(np.argmax(candidates.statistics.shares[choice.box] / usual))
    name = legend.names[most]
    return f"probably holds {name}, which is rare" if usual[most] < _RARE else f"probably holds much {name}"


def check_file(path: Path, images: Sequence[Path], crs: Sequence[CRS | None]) -> None:
    """Refuse a file that cannot hold the boxes.

    Raises:
        UsageError: another format, or GeoJSON for several images or for one without a CRS.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"-o {path}, expected a file that ends in {' or '.join(SUFFIXES)}")
    if suffix == ".geojson" and len(images) > 1:
        raise UsageError(f"-o {path}: holds the boxes of one image, not of {len(images)}; write a .gpkg")
    if suffix == ".geojson" and crs[0] is None:
        raise UsageError(f"-o {path}: holds longitude and latitude, but {images[0]} has no CRS; write a .gpkg")


def write_boxes(path: Path, boxes: Sequence[SuggestedBox], images: Sequence[SurveyedImage]) -> None:
    """Write or replace the file of boxes; every image has a layer, also without a box."""
    alone = len(images) == 1
    layers = [
        _layer(LAYER if alone else each.image.stem, each, [box for box in boxes if box.image == number])
        for number, each in enumerate(images)
    ]
    if path.suffix.lower() == ".gpkg":
        write_geopackage(path, layers, {})
    else:
        write_features(path, layers[0])


def _layer(name: str, image: SurveyedImage, boxes: Sequence[SuggestedBox]) -> Features:
    columns = {
        "rank": np.array([box.rank for box in boxes], np.int64),
        "image": _texts([image.image.name] * len(boxes)),
        "class": _texts([None] * len(boxes)),
        "why": _texts([box.why for box in boxes]),
        **{
            key: np.array([getattr(box, key) for box in boxes], np.float64) for key in ("entropy", "rarity", "distance")
        },
    }
    shapes = _texts([image.outline(box.window) for box in boxes])
    return Features(name, shapes, columns, image.source.info.georeference.crs or CRS(), "Polygon")


def _texts(values: Sequence[object]) -> NDArray[np.object_]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def picture_files(path: Path, images: Sequence[Path]) -> list[Path]:
    """The picture of each image's boxes: beside the file, with its name and, of several images, that of the image."""
    if len(images) == 1:
        return [path.with_suffix(".png")]
    return [path.with_name(f"{path.stem}_{each.stem}.png") for each in images]


def draw_boxes(path: Path, image: SurveyedImage, boxes: Sequence[SuggestedBox]) -> None:
    """Draw an image with its numbered boxes."""
    save_boxes(path, image.source, image.grid.roi, image.roles, {str(box.rank): box.window for box in boxes})
