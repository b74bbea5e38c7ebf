"""Checks of label rasters: problems stop a training or an evaluation, remarks are warnings."""

from collections.abc import Mapping, Sequence

import numpy as np

from agriseg.labels.raster import LabelRaster, Survey, value_text
from agriseg.legend import NODATA
from agriseg.options.labels import Value

_SHOWN = 5  # values that are no class in one message


def problems_of(labels: LabelRaster, survey: Survey, classes: Sequence[str]) -> list[str]:
    """Numbers that are no class, and classes that the file declares nodata."""
    return [*_unknown_values(labels, survey), *_declared_nodata(labels, survey, classes)]


def remarks_of(labels: LabelRaster, survey: Survey, classes: Sequence[str]) -> list[str]:
    """Transparent pixels of a class, and labels in a lossy format."""
    remarks = [
        f"{labels.info.path}: {count:,} px of class {name} are transparent (alpha or mask) and count as unlabelled"
        for name, value, count in zip(classes, labels.values, survey.hidden.tolist(), strict=True)
        if count and not _is_nodata(value, labels)
    ]
    if labels.info.driver == "JPEG":
        remarks.append(f"{labels.info.path}: a JPEG, whose loss may have changed labels at their edges; better a PNG")
    return remarks


def transparent_classes(surveys: Sequence[Survey], classes: Sequence[str]) -> list[str]:
    """Problems of classes whose pixels are all transparent; none without surveys."""
    if not surveys:
        return []
    pixels = np.sum([each.pixels for each in surveys], axis=0)
    hidden = np.sum([each.hidden for each in surveys], axis=0)
    return [
        f"all {count:,} px of class {name} are transparent (alpha or mask), so they count as unlabelled; save the "
        f"labels without transparency, or leave {name} out"
        for name, labelled, count in zip(classes, pixels, hidden, strict=True)
        if count and not labelled
    ]


def too_few_classes(pixels: Mapping[str, int], least: int, hint: str) -> list[str]:
    """The problem of fewer than `least` classes with pixels."""
    labelled = [name for name, count in pixels.items() if count]
    if len(labelled) >= least:
        return []
    if not labelled:
        return [f"no labelled pixel{hint}"]
    return [f"only one class, {labelled[0]}, is labelled; a training needs at least two{hint}"]


def missing_classes(pixels: Mapping[str, int], hint: str) -> list[str]:
    """The problem of classes without a pixel to train on."""
    missing = ", ".join(f"{name} (0 px held back)" for name, count in pixels.items() if not count)
    remedy = "label some, or take it out of classes, with values for the others"
    return [f"no labelled pixel to train on: {missing}; {remedy}{hint}"] if missing else []


def reserved_hint(pixels: Mapping[str, int], values: Sequence[Value], reserved: int) -> str:
    """A hint on what a stored 255 may mean; empty without such pixels."""
    if not reserved:
        return ""
    missing = [name for name, count in pixels.items() if not count]
    if len(missing) != 1:
        return f" ({reserved:,} px are {NODATA}, which means unlabelled; a class of that number needs --values)"
    meant = [NODATA if name == missing[0] else value for name, value in zip(pixels, values, strict=True)]
    return (
        f" ({reserved:,} px are {NODATA}, which means unlabelled; if they are {missing[0]}, give --values "
        f"{','.join(map(value_text, meant))})"
    )


def _unknown_values(labels: LabelRaster, survey: Survey) -> list[str]:
    if not survey.unknown:
        return []
    common = survey.unknown.most_common(_SHOWN)
    listed = ", ".join(f"{value_text(value)} ({count:,} px)" for value, count in common)
    fault = f"{labels.info.path}: no class has {listed}"
    if labels.info.driver == "JPEG":
        return [f"{fault}; a JPEG's loss changes numbers: export the labels as PNG or TIFF"]
    if len(survey.unknown) > NODATA:
        many = f"more than {NODATA} numbers that are no class, as pictures have"
        return [f"{labels.info.path}: {many}; are these the labels?"]
    if any(isinstance(value, float) and not value.is_integer() for value in survey.unknown):
        return [f"{fault}; classes are whole numbers: export the labels as such"]
    unlabelled = ",".join(value_text(value) for value, _ in common)
    return [f"{fault}; give each class its --values, or name unlabelled ones with --unlabelled {unlabelled}"]


def _declared_nodata(labels: LabelRaster, survey: Survey, classes: Sequence[str]) -> list[str]:
    path = labels.info.path
    unset = f"rio edit-info --unset-nodata {path.name}"
    if labels.info.driver != "GTiff":
        unset = f"gdal_translate -a_nodata none {path.name} {path.stem}.tif"
    return [
        f"{path}: class {name} is {value_text(value)}, which the file declares nodata, so its {count:,} px count as "
        f"unlabelled; if they are {name}: {unset}; if not, give {name} another of the --values"
        for name, value, count in zip(classes, labels.values, survey.hidden.tolist(), strict=True)
        if count and _is_nodata(value, labels)
    ]


def _is_nodata(value: Value, labels: LabelRaster) -> bool:
    bands = value if isinstance(value, tuple) else (value,)
    return all(number == declared for number, declared in zip(bands, labels.info.nodata, strict=False))
