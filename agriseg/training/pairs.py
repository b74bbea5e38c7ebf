"""Images and their labels, found by name."""

from dataclasses import dataclass
from pathlib import Path

from agriseg.errors import DataError, InputMissing

_RASTERS = {".tif", ".tiff", ".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Pair:
    """An image and the raster that labels it, with the file that a person gave, where that raster was made of it."""

    image: Path
    labels: Path
    given: Path


def find_pairs(images: Path, labels: Path, label_suffix: str = "") -> list[Pair]:
    """One image with its labels, or two folders whose names match, in the order of their names.

    Args:
        images: a raster, or a folder of rasters.
        labels: the label raster, or the folder.
        label_suffix: what a label's stem has behind the image's stem, such as `_mask`.

    Raises:
        InputMissing: a path that does not exist, or a folder without rasters.
        DataError: images without labels or labels without images, all at once.
    """
    for path in (images, labels):
        if not path.exists():
            raise InputMissing(f"{path}: no such file or folder; check the name")
    if images.is_file() and labels.is_file():
        return [Pair(images, labels, labels)]
    if images.is_file() != labels.is_file():
        raise DataError(f"{images} and {labels}: one is a file, the other a folder; give two of a kind")
    by_stem = rasters_of(images)
    labelled = {
        stem.removesuffix(label_suffix): path
        for stem, path in rasters_of(labels).items()
        if stem.endswith(label_suffix)
    }
    if not by_stem:
        raise InputMissing(f"{images}: no rasters in this folder; expected {', '.join(sorted(_RASTERS))}")
    alone = [f"{path} has no labels" for stem, path in by_stem.items() if stem not in labelled]
    alone += [f"{path} has no image" for stem, path in labelled.items() if stem not in by_stem]
    if alone:
        raise DataError(f"{len(alone)} without a partner: {'; '.join(alone)}")
    return [Pair(path, labelled[stem], labelled[stem]) for stem, path in by_stem.items()]


def rasters_of(folder: Path) -> dict[str, Path]:
    """Rasters of a folder by stem, in order; masks of GDAL's (`.tif.msk`) are none."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _RASTERS or not path.is_file():
            continue
        if path.stem in found:
            raise DataError(f"{found[path.stem]} and {path} share a stem; labels could belong to either")
        found[path.stem] = path
    return found
