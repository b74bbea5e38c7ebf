"""Label rasters: the class of each pixel of an image; 255 for unlabelled."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from agriseg.errors import DataError, UsageError
from agriseg.grid import Window
from agriseg.legend import NODATA
from agriseg.options.labels import Value
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.georeference import crs_name, same_horizontal_crs
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source, strips
from agriseg.raster.safe_open import open_raster
from agriseg.raster.valid_mask import ValidityRule

Keep = Callable[[Window], NDArray[np.bool_]]

_COLOURS = 3  # bands: red, green, blue
_SHOWN = 5  # colours in a message
_SAMPLE = 1_000_000  # pixels, for the colours of a picture
_KEPT = 1000  # counts of values that are no class
_SHIFT = 0.01  # of a pixel, by which labels may lie beside their image


@dataclass(frozen=True)
class Survey:
    """Pixel counts of a whole label raster.

    Args:
        pixels: (K,) int64 pixels of each class.
        hidden: (K,) int64 pixels that store a class under nodata, a mask or a transparent alpha.
        ignored: unlabelled pixels: 255, nodata, or a value for unlabelled; includes `hidden`.
        reserved: unlabelled pixels that store 255 without being declared nodata or unlabelled.
        unknown: pixels of the thousand commonest stored values that are no class.
    """

    pixels: NDArray[np.int64]
    hidden: NDArray[np.int64]
    ignored: int
    reserved: int
    unknown: Counter[Value]


@dataclass(frozen=True)
class LabelRaster:
    """A raster of labels on the grid of its image.

    Args:
        info: its header.
        values: stored number of each class, or its red, green and blue.
        keep: returns which pixels of a window count; the others are 255. None keeps all.
        unlabelled: stored numbers or colours for unlabelled, beside 255.
    """

    info: RasterInfo
    values: tuple[Value, ...]
    keep: Keep | None = None
    unlabelled: tuple[Value, ...] = ()

    @classmethod
    def of(cls, path: Path, values: Sequence[Value], unlabelled: Sequence[Value] = ()) -> "LabelRaster":
        """Open a label raster.

        Raises:
            UsageError: a value means two things; see `check_values`.
            DataError: its bands are not those of `values`: one of numbers, or red, green, blue.
        """
        check_values(values, unlabelled)
        info = RasterInfo.read(path)
        _check_bands(info, coloured=_coloured(values))
        return cls(info, tuple(values), unlabelled=tuple(unlabelled))

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window; 255 for unlabelled pixels and those outside `keep`.

        Raises:
            DataError: a number that is no class; `survey` lists all of them.
        """
        ids, unknown = self._decode(*self._stored(window))
        if unknown.any():
            raise DataError(f"{self.info.path}: {window} has numbers that are no class; see agriseg labels check")
        if self.keep is not None:
            ids[~self.keep(window)] = NODATA
        return ids

    def windows(self) -> Iterator[Window]:
        """The whole raster in strips of bounded size."""
        return strips(self.info.width, self.info.height)

    def survey(self) -> Survey:
        """Count the stored values of the whole raster, without regard to `keep`."""
        pixels, hidden = np.zeros((2, len(self.values)), np.int64)
        ignored, reserved, unknown = 0, 0, Counter[Value]()
        declared = NODATA in (*self.values, *self.unlabelled) or _coloured(self.values)
        for window in self.windows():
            stored, valid = self._stored(window)
            ids, strange = self._decode(stored, valid)
            counts = np.bincount(ids.ravel(), minlength=NODATA + 1)
            pixels += counts[: len(pixels)]
            ignored += int(counts[NODATA] - strange.sum())
            reserved += 0 if declared else int(np.count_nonzero((stored[0] == NODATA) & valid))
            invalid = stored[:, ~valid]
            hidden += [np.count_nonzero(_equals(invalid, value)) for value in self.values]
            unknown += _value_counts(stored[:, strange])
            if len(unknown) > _KEPT:  # a photograph in place of labels has millions of values
                unknown = Counter(dict(unknown.most_common(_KEPT)))
        return Survey(pixels, hidden, ignored, reserved, unknown)

    def _decode(
        self, stored: NDArray[np.generic], valid: NDArray[np.bool_]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Class ids, 255 without one; and a mask of the stored values that are no class."""
        ids = np.full(valid.shape, NODATA, np.uint8)
        known = ~valid if len(stored) > 1 else ~valid | (stored[0] == NODATA)
        for value in self.unlabelled:
            known |= _equals(stored, value)
        for class_id, value in enumerate(self.values):
            hit = _equals(stored, value) & valid
            ids[hit] = class_id
            known |= hit
        return ids, ~known

    def _stored(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        bands = (1, 2, 3) if _coloured(self.values) else (1,)
        source = Source(self.info, bands, ValidityRule.of(self.info), self.info.width, self.info.height)
        with Reader(source) as reader:
            strip = reader.read(window)
        return strip.pixels, strip.valid


def check_values(values: Sequence[Value], unlabelled: Sequence[Value] = ()) -> None:
    """Raise `UsageError` for a value with two meanings, and for numbers beside colours."""
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise UsageError(f"values: {value_text(twice[0])} is of two classes; give each class a value of its own")
    both = [value for value in unlabelled if value in values]
    if both:
        raise UsageError(f"{value_text(both[0])} is a class and unlabelled; give the class another of the values")
    if len({isinstance(value, tuple) for value in (*values, *unlabelled)}) > 1:
        raise UsageError("values and unlabelled: numbers beside colours; give all as numbers, or all as #rrggbb")


def value_text(value: Value) -> str:
    """A stored value as a person writes it: a number, or `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*value) if isinstance(value, tuple) else f"{value:.10g}"


def _check_bands(info: RasterInfo, *, coloured: bool) -> None:
    """Refuse a picture where numbers are expected, and the other way round."""
    count = info.count - len(info.alpha)
    if coloured and count != _COLOURS:
        remedy = _palette(info) or "give class numbers with --values"
        raise DataError(f"{info.path}: bands: {count}, but the values are colours (red, green, blue); {remedy}")
    if not coloured and count != 1:
        remedy = f"take it out: gdal_translate -b 1 {info.path.name} {info.path.stem}_labels.tif"
        remedy = _colours(info) if count == _COLOURS else remedy
        raise DataError(f"{info.path}: {count} bands, expected one with class numbers; {remedy}")


def _palette(info: RasterInfo) -> str | None:
    """A hint with the colours of a palette."""
    if info.colours[0] is not ColorInterp.palette:
        return None
    with open_raster(info.path) as dataset:
        shown = list(dataset.colormap(1).items())[:_SHOWN]
    listed = ", ".join(f"{number} is {value_text((red, green, blue))}" for number, (red, green, blue, _) in shown)
    return f"its palette says {listed}: give these numbers as --values"


def _colours(info: RasterInfo) -> str:
    """A hint for a coloured raster, with the colours of its first rows."""
    rows = min(info.height, max(1, _SAMPLE // info.width))
    with gdal_calls(f"{info.path}: damaged, cannot be read; copy it again"), open_raster(info.path) as dataset:
        colours = _value_counts(dataset.read((1, 2, 3), window=((0, rows), (0, info.width))).reshape(3, -1))
    if len(colours) > NODATA:
        lossy = "; a JPEG's loss changes colours: export the labels as PNG" if info.driver == "JPEG" else ""
        return f"it has more than {NODATA} colours, as photographs have{lossy or '; are these the labels?'}"
    listed = ",".join(value_text(value) for value, _ in colours.most_common(_SHOWN))
    return f"a coloured picture needs a colour for each class, such as --values {listed}, in the order of the classes"


def _coloured(values: Sequence[Value]) -> bool:
    return any(isinstance(value, tuple) for value in values)


def _equals(stored: NDArray[np.generic], value: Value) -> NDArray[np.bool_]:
    """Where the bands (B, ...) hold a number or a colour."""
    bands = zip(stored, value if isinstance(value, tuple) else (value,), strict=True)
    return np.asarray(np.logical_and.reduce([band == number for band, number in bands]), bool)


def _value_counts(stored: NDArray[np.generic]) -> Counter[Value]:
    """How often each value occurs in (B, N) pixels."""
    values, counts = np.unique(stored, axis=1, return_counts=True)
    keys = [value[0] if len(value) == 1 else tuple(value) for value in values.T.tolist()]
    return Counter(dict(zip(keys, counts.tolist(), strict=True)))


def misfit(image: RasterInfo, labels: RasterInfo) -> str | None:
    """The error of labels that are not on the grid of their image; photographs have no georeference."""
    here, there = image.georeference, labels.georeference
    placed = here.crs is not None and there.crs is not None
    if (image.width, image.height) != (labels.width, labels.height):
        return _other_size(image, labels, placed=placed)
    if rasterio.Affine.identity() in (here.transform, there.transform):
        return None
    corners = [(0, 0), (image.width, image.height)]
    places = [there.transform @ corner for corner in corners]
    if here.crs and there.crs and not same_horizontal_crs(there.crs, here.crs, places):
        return (
            f"{labels.path}: CRS {crs_name(there.crs)}, but {image.path.name} has {crs_name(here.crs)}; "
            "--reproject-labels lays them there"
        )
    shift = np.abs(np.subtract([(~here.transform) @ place for place in places], corners)).max()
    if shift <= _SHIFT:
        return None
    fault = f"{labels.path}: lies {shift:.2f} px beside {image.path.name}"
    if placed:
        return f"{fault}; --reproject-labels lays them there"
    bare = labels.path if there.crs is None else image.path
    return f"{fault}, and {bare.name} has no CRS; give it the other's: rio edit-info --crs CODE {bare.name}"


def turned(image: RasterInfo, labels: RasterInfo) -> str | None:
    """The error of labels without CRS that viewers turn unlike their image."""
    placed = image.georeference.crs is not None and labels.georeference.crs is not None
    if image.orientation == labels.orientation or placed:
        return None
    one, other = (image, labels) if image.orientation != 1 else (labels, image)
    return (
        f"{labels.path}: viewers turn {one.path.name} (orientation tag {one.orientation}), but {other.path.name} not so"
        f" ({other.orientation}); turn its pixels: mogrify -auto-orient {one.path.name}, or, if the labels lie on the "
        f"pixels as stored, drop the tag: exiftool -Orientation= {one.path.name}"
    )


def turned_under_shapes(image: RasterInfo, shapes: Path) -> str | None:
    """The error of an image without CRS that viewers turn under shapes in pixels."""
    if image.orientation == 1 or image.georeference.crs is not None:
        return None
    name = image.path.name
    return (
        f"{shapes}: viewers turn {name} (orientation tag {image.orientation}), so shapes may lie elsewhere on it; "
        f"turn its pixels: mogrify -auto-orient {name}, or, if shapes lie on them as stored, drop the tag: exiftool "
        f"-Orientation= {name}"
    )


def _other_size(image: RasterInfo, labels: RasterInfo, *, placed: bool) -> str:
    size = f"{image.width} x {image.height}"
    fault = f"{labels.path}: {labels.width} x {labels.height} px, but {image.path.name} has {size}"
    if placed:
        return f"{fault}; --reproject-labels lays them there"
    if abs(labels.width * image.height - labels.height * image.width) > max(image.width, image.height):
        return f"{fault}, another shape; do they belong together? Export the labels at {size} px"
    return (
        f"{fault}; export the labels at that size, or make them so: gdal_translate -r nearest -outsize {image.width} "
        f"{image.height} {labels.path.name} FULL/{labels.path.name}"
    )
