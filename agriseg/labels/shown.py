"""A picture of a labelled image."""

from collections.abc import Sequence
from pathlib import Path

from agriseg.figures.labels_picture import Marks, save_labels_picture
from agriseg.labels.clicks import click_counts
from agriseg.labels.label_set import LabelledImage
from agriseg.legend import Legend
from agriseg.raster.band_roles import find_bands
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule

_COLOURS = ("red", "green", "blue")


def save_shown(path: Path, labelled: LabelledImage, classes: Sequence[str]) -> None:
    """Write a PNG of an image, its labels and its clicks.

    Raises:
        DataError: the image cannot be read.
        StorageError: the file cannot be written.
    """
    info, clicks = labelled.info, labelled.clicks
    bands = find_bands(info, _COLOURS)
    plain = tuple(band for band in range(1, info.count + 1) if band not in info.alpha)
    shown = tuple(bands[role] for role in _COLOURS) if len(bands) == len(_COLOURS) else plain[:3]
    source = Source(info, shown, ValidityRule.of(info), info.width, info.height)
    texts = {name: count.text for name, count in click_counts([clicks], classes).items()}
    marks = Marks(clicks.xy, clicks.ids, clicks.pixels > 0, texts)
    save_labels_picture(path, source, ("",) * len(shown), labelled.pair.labels, Legend.from_names(list(classes)), marks)
