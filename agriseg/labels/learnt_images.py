"""The ground that a model has learnt, stored in its file, so that scores on training data are reported as such.

An image is recognised by its pixels under any name, or by its position in any file and resolution.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform as reprojected

from agriseg.errors import ModelError
from agriseg.json_text import from_json
from agriseg.labels.scene import Scene
from agriseg.legend import NODATA
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.reader import Reader, Source, strips

_SAMPLE = 2000  # labelled pixels of a strip, drawn at random


@dataclass(frozen=True)
class LearntGround:
    """The part of one image that a model was trained on, as its file stores it.

    Args:
        size: rows and columns (px).
        side: of a square cell (px).
        cells: text of `trained`, see `packed`.
        pixels: `pixel_digest` of the image.
        crs, transform: its georeference; None without one.
    """

    size: tuple[int, int]
    side: int
    cells: str
    pixels: str
    crs: str | None
    transform: tuple[float, ...] | None

    @classmethod
    def of(cls, scene: Scene, side: int, trained: NDArray[np.bool_], digest: str) -> "LearntGround":
        """The ground of a scene that is trained on."""
        crs, transform = scene.source.info.georeference.crs, scene.source.info.georeference.transform
        size = scene.source.height, scene.source.width
        if crs is None:
            return cls(size, side, packed(trained), digest, None, None)
        return cls(size, side, packed(trained), digest, crs.to_string(), tuple(map(float, transform[:6])))

    @cached_property
    def trained(self) -> NDArray[np.bool_]:
        """(R, C) bool: whether the cell has a labelled pixel that was trained on."""
        shape = -(-self.size[0] // self.side), -(-self.size[1] // self.side)
        bits = np.frombuffer(zlib.decompress(base64.b64decode(self.cells)), np.uint8)
        return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)

    def holds(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) bool: whether positions (px of this image) are in a cell that was trained on."""
        with np.errstate(invalid="ignore"):
            inside = (rows >= 0) & (rows < self.size[0]) & (cols >= 0) & (cols < self.size[1])
        held = np.zeros(len(rows), bool)
        held[inside] = self.trained[rows[inside].astype(int) // self.side, cols[inside].astype(int) // self.side]
        return held


def packed(trained: NDArray[np.bool_]) -> str:
    """A mask as text: bits, zlib, base64."""
    return base64.b64encode(zlib.compress(np.packbits(trained).tobytes())).decode()


@dataclass(frozen=True)
class LearntImages:
    """All ground that a model and its initial model were trained on, as the model's file stores it.

    Args:
        complete: False if an initial model has no record of its ground.
        images: the part of each image that was trained on.
    """

    complete: bool
    images: tuple[LearntGround, ...] = ()

    @classmethod
    def of_card(cls, about: Mapping[str, Any]) -> "LearntImages":
        """Read the record of a model file, which may have none; raises `ModelError` if it is damaged."""
        if about.get("ground") is None:
            return cls(complete="split" not in about)
        try:
            learnt = from_json(cls, about["ground"], "the model's card", "train the model again")
            for each in learnt.images:
                each.trained.any()  # unpacks the cells
        except (ValueError, ArithmeticError, zlib.error) as error:
            raise ModelError("the model's card holds damaged learnt ground; train the model again") from error
        return learnt

    def with_more(self, ground: Sequence[LearntGround]) -> "LearntImages":
        """With further ground; duplicates count once."""
        return LearntImages(self.complete, tuple(dict.fromkeys((*ground, *self.images))))


def learnt_share(ground: Sequence[LearntGround], scenes: Sequence[tuple[Scene, Callable[[], str]]]) -> float:
    """Share of labelled pixels on learnt ground, 0 to 1, estimated from a sample.

    Each scene has a function that returns its `pixel_digest`, called only where sizes agree.
    """
    learnt = total = 0.0
    for scene, digest in scenes if ground else ():
        for rows, cols, weight in _labelled(scene):
            known = on_learnt_ground(ground, scene.source, digest, rows, cols)
            learnt, total = learnt + known.sum() * weight, total + len(rows) * weight
    return float(learnt / max(1.0, total))


def on_learnt_ground(
    ground: Sequence[LearntGround], source: Source, digest: Callable[[], str], rows: NDArray[np.int64],
    cols: NDArray[np.int64],
) -> NDArray[np.bool_]:  # fmt: skip
    """(N,) bool: whether pixels of a raster are on learnt ground; `digest` as in `learnt_share`."""
    held = [each.holds(*_places(each, source, digest, rows, cols)) for each in ground]
    return np.asarray(np.logical_or.reduce(held), bool) if held else np.zeros(len(rows), bool)


def pixel_digest(source: Source) -> str:
    """SHA-256 of the used bands as stored: the same for a copy in another format or under another name."""
    digest = hashlib.sha256()
    with Reader(source) as reader:
        for window in strips(source.width, source.height):
            digest.update(reader.read(window).pixels.tobytes())
    return digest.hexdigest()


def _labelled(scene: Scene) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], float]]:
    """Rows and columns of some labelled pixels of each strip, and the number of labelled pixels for each of them."""
    for window in scene.windows():
        labelled = np.flatnonzero(scene.labels.read(window) != NODATA)
        if len(labelled):
            sample = np.random.default_rng(window.row_off).permutation(labelled)[:_SAMPLE]
            rows, cols = np.divmod(sample, window.width)
            yield rows + window.row_off, cols, len(labelled) / len(sample)


def _places(
    ground: LearntGround, source: Source, digest: Callable[[], str], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of a raster's pixels in a learnt image; negative if the two cannot be compared."""
    if ground.size == (source.height, source.width) and ground.pixels == digest():
        return rows.astype(float), cols.astype(float)
    where = source.info.georeference
    if where.crs is None or ground.crs is None or ground.transform is None:
        return np.full(len(rows), -1.0), np.full(len(cols), -1.0)
    x, y = where.transform @ (cols + 0.5, rows + 0.5)
    if (crs := where.crs.to_string()) != ground.crs:
        with gdal_calls(f"{source.info.path}: its CRS cannot be compared with that of the model's ground"):
            x, y = map(np.asarray, reprojected(crs, ground.crs, x, y))
    there_cols, there_rows = ~rasterio.Affine(*ground.transform) @ (x, y)
    return there_rows, there_cols
