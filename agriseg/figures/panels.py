"""One picture of a run: image, mask and confidence side by side, with the legend."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.enums import Resampling

from agriseg import files
from agriseg.figures.quicklook import confidence_colours
from agriseg.grid import Window
from agriseg.legend import NODATA, Legend
from agriseg.raster.reader import Reader, Source
from agriseg.raster.safe_open import open_raster

_PANEL, _GAP, _HEAD, _LINE = 640, 16, 44, 28  # px
_PAPER, _INK, _EMPTY = (255, 255, 255), (40, 40, 40), (232, 232, 232)


def save_picture(
    path: Path, image: Source, classes: Path, confidence: Path, legend: Legend,
    labels: NDArray[np.uint8] | None = None,
) -> None:  # fmt: skip
    """Write a PNG.

    Args:
        path: the PNG.
        image: the raster that was mapped; its first three bands are shown as red, green, blue.
        classes, confidence: layers of the run.
        legend: of the mask.
        labels: (H, W) true class ids, 255 unknown, to show beside the mask; None without.
    """
    mask, sure = _read(classes, (1,), Resampling.mode)[0], _read(confidence, (1,), Resampling.average)[0]
    known = mask != NODATA
    panels = [
        ("Image", _photo(image, known.shape)),
        ("Classes", _paint(mask, known, legend)),
        ("Confidence", _glow(sure, known, len(legend))),
    ]
    if labels is not None:
        truth = _shrunk(labels, known.shape)
        panels.insert(1, ("Labels", _paint(truth, truth != NODATA, legend)))
    height, width = known.shape
    sheet = Image.new("RGB", (len(panels) * (width + _GAP) + _GAP, _HEAD + height + _LINE + 2 * _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for place, (title, pixels) in enumerate(panels):
        left = _GAP + place * (width + _GAP)
        draw.text((left, 12), title, fill=_INK, font=font)
        sheet.paste(Image.fromarray(pixels), (left, _HEAD))
    _key(draw, font, legend, _GAP + (len(panels) - 1) * (width + _GAP), _HEAD + height + _GAP)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    files.write_bytes(path, buffer.getvalue())


def _read(path: Path, bands: tuple[int, ...], resampling: Resampling) -> NDArray[np.uint8]:
    """Bands (C, h, w) of a raster, shrunk to fit a panel."""
    with open_raster(path) as dataset:
        shrink = max(1.0, max(dataset.width, dataset.height) / _PANEL)
        shape = (len(bands), max(1, round(dataset.height / shrink)), max(1, round(dataset.width / shrink)))
        pixels: NDArray[np.uint8] = dataset.read(list(bands), out_shape=shape, resampling=resampling)
    return pixels


def _shrunk(ids: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Class ids at the panel's size, the nearest of each pixel."""
    rows, cols = (np.arange(small) * large // small for small, large in zip(shape, ids.shape, strict=True))
    return np.asarray(ids[rows[:, None], cols], np.uint8)


def _photo(source: Source, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The raster as a photograph (h, w, 3), stretched between its 1st and 99th percentile."""
    bands = source.bands[:3] if len(source.bands) >= 3 else (source.bands * 3)[:3]
    with Reader(replace(source, bands=bands, width=shape[1], height=shape[0])) as reader:
        strip = reader.read(Window(0, 0, shape[1], shape[0]))
    pixels, valid = strip.pixels.astype(np.float32), strip.valid
    low, high = np.percentile(pixels[:, valid], (1, 99)) if valid.any() else (0.0, 1.0)
    shown = np.clip((pixels - low) / max(high - low, 1e-9), 0, 1) * 255
    return np.where(valid[..., None], shown.transpose(1, 2, 0), _EMPTY).astype(np.uint8)


def _paint(mask: NDArray[np.uint8], known: NDArray[np.bool_], legend: Legend) -> NDArray[np.uint8]:
    table = np.zeros((256, 3), np.uint8)
    table[: len(legend)] = [entry.rgb for entry in legend]
    return np.where(known[..., None], table[mask], np.array(_EMPTY, np.uint8))


def _glow(confidence: NDArray[np.uint8], known: NDArray[np.bool_], classes: int) -> NDArray[np.uint8]:
    return np.where(known[..., None], confidence_colours(confidence, classes), _EMPTY).astype(np.uint8)


def _key(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, legend: Legend, sure: int, top: int
) -> None:
    """The legend from the left, and the ends of the confidence scale from column `sure` on, under its panel."""
    entries = [(entry.rgb, entry.name) for entry in legend]
    left: float = _GAP
    for colour, name in entries:
        draw.rectangle((left, top, left + 18, top + 18), fill=colour)
        draw.text((left + 26, top - 2), name, fill=_INK, font=font)
        left += 26 + draw.textlength(name, font=font) + 24
    left = max(left, sure)
    guess, certain = (tuple(colour.tolist()) for colour in confidence_colours(np.array([0, 250], np.uint8), 2))
    for colour, name in ((guess, "a guess"), (certain, "certain")):
        draw.rectangle((left, top, left + 18, top + 18), fill=colour, outline=_INK)
        draw.text((left + 26, top - 2), name, fill=_INK, font=font)
        left += 26 + draw.textlength(name, font=font) + 24
