"""Quick looks: small pictures of the image, the mask and the confidence on one grid, which a browser shows.

Their grid is that of an overview of the map, so a pixel of the mask's picture has the class of most of its ground. The
mask and the confidence are indexed PNGs whose numbers are those of the layers.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agriseg.figures.cell_means import CellGrid, CellMeans
from agriseg.grid import Window
from agriseg.legend import CONFIDENCE_STEP, NODATA, Legend
from agriseg.raster.reader import Source
from agriseg.raster.safe_open import open_raster

SIDE = 1600
"""Longest side of a quick look (px)."""
CONFIDENCE_COUNTS = 5
"""Counts of the confidence layer (0.02) that share a number in its picture, which halves its size."""
_LOW, _HIGH = np.array([122, 4, 64]), np.array([255, 244, 190])  # colours of confidence 1/K and 1
_THUMBNAIL = 96  # px
_SPAN = (1.0, 99.0)  # percentiles of an image that are shown as black and white


def quicklook_size(width: int, height: int) -> tuple[int, int]:
    """Columns and rows of the quick look of a map: those of its finest overview of at most `SIDE` px a side."""
    factor = 1
    while max(width, height) > SIDE * factor:
        factor *= 2
    return -(-width // factor), -(-height // factor)


def shown_roles(roles: tuple[str, ...]) -> tuple[int, ...]:
    """Indices of the three bands to show: red, green and blue, else the first three, else the first as grey."""
    colours = ("red", "green", "blue")
    if all(role in roles for role in colours):
        return tuple(roles.index(role) for role in colours)
    return (0, 1, 2) if len(roles) >= 3 else (0, 0, 0)


def class_picture(classes: Path, legend: Legend) -> bytes:
    """PNG of a mask, as `class_colours`."""
    return class_colours(overview(classes), legend)


def class_colours(ids: NDArray[np.uint8], legend: Legend) -> bytes:
    """PNG of class ids (h, w); its index is the class id, its palette the legend, 255 is transparent."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(legend)] = [entry.rgb for entry in legend]
    return _indexed(ids, palette)


def confidence_picture(confidence: Path, classes: int) -> bytes:
    """PNG of a confidence layer; its index is the layer's count in steps of `CONFIDENCE_COUNTS`, 255 is transparent."""
    counts = overview(confidence)
    stepped = np.where(counts == NODATA, NODATA, counts // CONFIDENCE_COUNTS * CONFIDENCE_COUNTS).astype(np.uint8)
    return _indexed(stepped, confidence_colours(np.arange(256, dtype=np.uint8), classes))


def confidence_colours(counts: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Colours (..., 3) of confidence, from a guess among the classes (dark) to certainty (bright)."""
    guess = 1 / classes
    share = np.clip((counts * CONFIDENCE_STEP - guess) / max(1 - guess, 1e-9), 0, 1)[..., None]
    return np.asarray((_LOW + (_HIGH - _LOW) * share).astype(np.uint8))


def quicklook_cells(window: Window) -> CellGrid:
    """The pixels of the quick look of a mapped window."""
    width, height = quicklook_size(window.width, window.height)
    return CellGrid(window, height, width)


def image_quicklook(source: Source, roi: Window, roles: tuple[str, ...]) -> bytes:
    """PNG of the image under a map, as `image_picture`.

    The source is the image as the model reads it, and the window the mapped one of its working grid.
    """
    cells = quicklook_cells(roi)
    return image_picture(cells.read(source, shown_roles(roles), range(cells.height)))


def image_picture(image: CellMeans) -> bytes:
    """PNG of means, stretched between their 1st and 99th percentile; transparent where the image has no data."""
    pixels, valid = image.means, image.valid
    low, high = np.percentile(pixels[:, valid], _SPAN) if valid.any() else (0.0, 1.0)
    stretched = (np.clip((pixels - low) / max(high - low, 1e-9), 0, 1) * 255).round().astype(np.uint8)
    stretched[:, ~valid] = 0
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    layers = stretched if valid.all() else np.concatenate([stretched, alpha[None]])
    return _png(Image.fromarray(np.ascontiguousarray(layers.transpose(1, 2, 0))))


def thumbnail(*pictures: Path) -> bytes:
    """A small PNG of quick looks side by side, each at most 96 px a side."""
    small = []
    for path in pictures:
        with Image.open(path) as picture:
            shown = picture.convert("RGBA")
        shown.thumbnail((_THUMBNAIL, _THUMBNAIL))
        small.append(shown)
    sheet = Image.new("RGBA", (sum(each.width for each in small), max(each.height for each in small)))
    left = 0
    for each in small:
        sheet.paste(each, (left, 0))
        left += each.width
    return _png(sheet.quantize(64))  # an eighth of the bytes


def overview(path: Path) -> NDArray[np.uint8]:
    """The quick look's pixels (h, w) of a published layer, as its overview has them."""
    with open_raster(path) as dataset:
        width, height = quicklook_size(dataset.width, dataset.height)
        pixels: NDArray[np.uint8] = dataset.read(1, out_shape=(height, width))
    return pixels


def _indexed(numbers: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(numbers)
    picture.putpalette(palette.tobytes())
    return _png(picture, transparency=NODATA)


def _png(picture: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()
