"""Images and their labels, found by name."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agriseg.annotations.formats import has_annotations, is_annotations, read_annotations
from agriseg.annotations.shapes import AnnotatedImage
from agriseg.errors import DataError, InputMissing, UsageError

_RASTERS = {".tif", ".tiff", ".jpg", ".jpeg", ".png"}
_SHOWN = 5  # files in one message
_NAMES = 3  # names in a message


@dataclass(frozen=True)
class Pair:
    """An image and its label raster; `source` is the user's file that this was made of, or the raster itself."""

    image: Path
    labels: Path
    source: Path


@dataclass(frozen=True)
class MatchedLabels:
    """Images with their label files, of any format.

    Args:
        pairs: in the order of the image names.
        drawn: whether the files have shapes.
        annotated: annotations of each image, if the files are annotations.
        remarks: warnings about images without annotations, and annotations without images.
    """

    pairs: Sequence[Pair]
    drawn: bool = False
    annotated: Mapping[Path, AnnotatedImage] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def find_pairs(images: Path, labels: Path, label_suffix: str = "") -> list[Pair]:
    """One image with its labels, or two folders whose names match, in the order of their names.

    Folders are searched recursively. Both may be the same folder if a suffix distinguishes labels from images, and
    one may be inside the other. The suffix ends a label's stem behind the image's stem, such as `_mask`.

    Raises:
        InputMissing: a path that does not exist, or a folder without rasters.
        UsageError: one folder of images and labels without a suffix.
        DataError: images without labels or labels without images, all at once.
    """
    for path in (images, labels):
        if not path.exists():
            raise InputMissing(f"{path}: no such file or folder; check the name")
    if images.is_file() and labels.is_file():
        return [Pair(images, labels, labels)]
    if images.is_file() != labels.is_file():
        raise DataError(f"{images} and {labels}: one is a file, the other a folder; give two of a kind")
    by_stem, labelled = _sides(images, labels, label_suffix)
    unpaired = [f"{path} has no labels" for stem, path in by_stem.items() if stem not in labelled]
    unpaired += [f"{path} has no image" for stem, path in labelled.items() if stem not in by_stem]
    if unpaired:
        more = _common_suffix(by_stem.keys() - labelled.keys(), labelled.keys() - by_stem.keys())
        advice = f"; if these belong together, add --label-suffix {more}{label_suffix}" if more else ""
        raise DataError(f"{len(unpaired)} without a partner: {'; '.join(unpaired[:_SHOWN])}{advice}")
    return [Pair(path, labelled[stem], labelled[stem]) for stem, path in by_stem.items()]


def rasters_of(folder: Path) -> dict[str, Path]:
    """Rasters directly in a folder by stem, in order."""
    return _named([path for path in _rasters(folder, None) if path.parent == folder], "")


def _sides(images: Path, labels: Path, suffix: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images, and labels by the stems of their images."""
    one = images.samefile(labels)
    everything = _rasters(images, None if one else labels)
    if not everything:
        raise InputMissing(f"{images}: no rasters in this folder; expected {', '.join(sorted(_RASTERS))}")
    if one:
        if not suffix:
            stems = {path.stem for path in everything}
            flag = f"--label-suffix {_common_suffix(stems, stems) or '_mask'}"
            raise UsageError(f"{images}: images and labels in one folder; distinguish the labels by {flag}")
        masks = [path for path in everything if path.stem.endswith(suffix)]
        pictures = [path for path in everything if not path.stem.endswith(suffix)]
    else:
        pictures = everything
        masks = [path for path in _rasters(labels, images) if path.stem.endswith(suffix)]
    by_stem = _named(pictures, "")
    return by_stem, _named(masks, suffix, {path.name: stem for stem, path in by_stem.items()})


def _rasters(folder: Path, other: Path | None) -> list[Path]:
    """Rasters in a folder and below it, but not in the other folder, in order; without hidden ones."""
    rasters = []
    for place, below, names in os.walk(folder):
        here = Path(place)
        below[:] = sorted(
            name for name in below
            if not name.startswith((".", "@", "__")) and not (other and (here / name).samefile(other))
        )  # fmt: skip
        paths = [here / name for name in sorted(names) if not name.startswith(".")]
        rasters += [path for path in paths if path.suffix.lower() in _RASTERS and path.is_file()]
    return rasters


def _named(paths: Collection[Path], suffix: str, by_name: dict[str, str] | None = None) -> dict[str, Path]:
    """Paths by stem without the suffix; `x.tif.png` labels `x.tif`."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        stem = path.stem.removesuffix(suffix)
        stem = (by_name or {}).get(stem, stem)
        if stem in by_stem:
            raise DataError(
                f"{by_stem[stem]} and {path} share a stem; labels could belong to either: rename or move one"
            )
        by_stem[stem] = path
    return by_stem


def _common_suffix(images: Collection[str], labels: Collection[str]) -> str:
    """The end of labels' stems behind the stem of their image; empty if labels have different ends."""
    for stem in sorted(images)[:_SHOWN]:
        for label in sorted(labels):
            tail = label.removeprefix(stem)
            if tail and tail != label and all(name.endswith(tail) or name + tail in labels for name in images):
                return tail
    return ""


def annotation_files(images: Path, labels: Path, label_suffix: str) -> list[Path]:
    """The labels file itself, or the files in a folder without label rasters; raises `DataError` for a damaged one."""
    if not labels.is_dir():
        return [labels] if is_annotations(labels) else []
    if label_suffix or (not labels.samefile(images) and rasters_of(labels)):
        return []
    return [path for path in sorted(labels.iterdir()) if path.is_file() and has_annotations(path)]


def match_annotations(images: Path, files: Sequence[Path]) -> MatchedLabels:
    """Match an image, or a folder of images, with annotations: by the name in a file, or else by its stem.

    Raises:
        InputMissing: no such file.
        DataError: a file that cannot be read, no annotated image, or an image annotated twice.
    """
    rasters = list(rasters_of(images).values()) if images.is_dir() else [images]
    by_name, by_stem = {path.name: path for path in rasters}, {path.stem: path for path in rasters}
    drawn: dict[Path, tuple[Path, AnnotatedImage]] = {}
    absent: list[str] = []
    for file in files:
        for each in read_annotations(file):
            image = _image_of(each.names, by_name, by_stem)
            if image is None:
                absent.append(each.names[0])
            elif image in drawn:
                raise DataError(f"{image}: annotated in {drawn[image][0]} and again in {file}; leave one out")
            else:
                drawn[image] = file, each
    if not drawn:
        listed = f"{absent[0][:80]} and such ({len(absent)}), not" if absent else "no image, so not"
        raise DataError(
            f"{files[0]}: annotates {listed} {images.name}; give the images that it names, as it names them"
        )
    plain = [path.name for path in rasters if path not in drawn]
    remarks = []
    if plain:
        remarks.append(f"{len(plain)} images without annotations are left out: {_listed(plain)}")
    if absent and images.is_dir():
        remarks.append(f"{len(absent)} annotated images are not in {images}: {_listed(absent)}")
    pairs = [Pair(image, file, file) for image, (file, _) in sorted(drawn.items())]
    annotated = {image: each for image, (_, each) in drawn.items()}
    return MatchedLabels(pairs, drawn=True, annotated=annotated, remarks=tuple(remarks))


def _image_of(names: Sequence[str], by_name: Mapping[str, Path], by_stem: Mapping[str, Path]) -> Path | None:
    exact = [by_name[name] for name in names if name in by_name]
    return next(iter(exact or [by_stem[Path(name).stem] for name in names if Path(name).stem in by_stem]), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
