"""Match images with annotation files by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agriseg.annotations.formats import has_annotations, is_annotations, read_annotations
from agriseg.annotations.shapes import AnnotatedImage
from agriseg.errors import DataError
from agriseg.labels.pairs import rasters_of

_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class MatchedAnnotations:
    """Images with their annotations.

    Args:
        drawn: annotation file and annotations of each image, in the order of the image names.
        remarks: warnings about images without annotations, and annotations without images.
    """

    drawn: Mapping[Path, tuple[Path, AnnotatedImage]]
    remarks: tuple[str, ...]


def annotation_files(images: Path, labels: Path, label_suffix: str) -> list[Path]:
    """Annotation files: the labels file itself, or those of a folder without label rasters.

    Raises:
        DataError: one is damaged.
    """
    if not labels.is_dir():
        return [labels] if is_annotations(labels) else []
    if label_suffix or (not labels.samefile(images) and rasters_of(labels)):
        return []
    return [path for path in sorted(labels.iterdir()) if path.is_file() and has_annotations(path)]


def match_annotations(images: Path, files: Sequence[Path]) -> MatchedAnnotations:
    """Match images with annotations: by the name in the file, or by that name with another suffix.

    Args:
        images: a raster, or a folder of them.
        files: of annotations.

    Raises:
        InputMissing: a file that is not there.
        DataError: a file that cannot be read, no annotated image, or an image annotated twice.
    """
    there = list(rasters_of(images).values()) if images.is_dir() else [images]
    by_name, by_stem = {path.name: path for path in there}, {path.stem: path for path in there}
    drawn: dict[Path, tuple[Path, AnnotatedImage]] = {}
    absent: list[str] = []
    for file in files:
        for each in read_annotations(file):
            image = _found(each.names, by_name, by_stem)
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
    alone = [path.name for path in there if path not in drawn]
    remarks = []
    if alone:
        remarks.append(f"{len(alone)} images without annotations are left out: {_listed(alone)}")
    if absent and images.is_dir():
        remarks.append(f"{len(absent)} annotated images are not in {images}: {_listed(absent)}")
    return MatchedAnnotations(dict(sorted(drawn.items())), tuple(remarks))


def _found(names: Sequence[str], by_name: Mapping[str, Path], by_stem: Mapping[str, Path]) -> Path | None:
    exact = [by_name[name] for name in names if name in by_name]
    return next(iter(exact or [by_stem[Path(name).stem] for name in names if Path(name).stem in by_stem]), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name[:40] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
