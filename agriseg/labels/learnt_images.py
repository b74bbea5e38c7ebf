"""The ground that a model has learnt, stored in its file, so that scores on training data are reported as such.

An image is recognised by its pixels, whatever its name, or by its position, in any file and resolution.
"""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.warp import transform as reprojected

from agriseg.errors import ModelError
from agriseg.labels.scene import Scene
from agriseg.legend import NODATA
from agriseg.raster.gdal_env import gdal_calls

_LOOKED_AT = 2000  # labelled pixels of a strip, drawn at random


@dataclass(frozen=True)
class LearntGround:
    """The part of one image that a model was trained on.

    Args:
        size: rows and columns (px).
        side: of a square cell (px).
        cells: (R, C) bool: whether the cell has a labelled pixel that was trained on.
        digest: of the image's pixels, see `pixel_digest`.
        crs, transform: its georeference; None without one.
    """

    size: tuple[int, int]
    side: int
    cells: NDArray[np.bool_]
    digest: str
    crs: str | None
    transform: tuple[float, ...] | None

    @classmethod
    def of(cls, scene: Scene, side: int, cells: NDArray[np.bool_], digest: str) -> "LearntGround":
        """Of a scene that is trained on."""
        where = scene.source.info.georeference
        placed = None if where.crs is None else tuple(float(number) for number in where.transform[:6])
        crs = where.crs.to_string() if where.crs else None
        return cls((scene.source.height, scene.source.width), side, cells, digest, crs, placed)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        packed = base64.b64encode(zlib.compress(np.packbits(self.cells).tobytes())).decode()
        return {
            "size": list(self.size), "side": self.side, "cells": packed, "pixels": self.digest, "crs": self.crs,
            "transform": None if self.transform is None else list(self.transform),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "LearntGround":
        """Read `as_dict`.

        Raises:
            ModelError: it is damaged.
        """
        try:
            height, width, side = int(told["size"][0]), int(told["size"][1]), int(told["side"])
            shape = -(-height // side), -(-width // side)
            bits = np.frombuffer(zlib.decompress(base64.b64decode(told["cells"])), np.uint8)
            cells = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)
            placed = None if told["transform"] is None else tuple(map(float, told["transform"]))
            return cls((height, width), side, cells, str(told["pixels"]), told["crs"], placed)
        except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, binascii.Error, zlib.error) as error:
            raise ModelError("the model's card tells damaged learnt ground; train the model again") from error

    def holds(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) bool: whether positions (px of this image) are in a cell that was trained on."""
        with np.errstate(invalid="ignore"):
            inside = (rows >= 0) & (rows < self.size[0]) & (cols >= 0) & (cols < self.size[1])
        held = np.zeros(len(rows), bool)
        held[inside] = self.cells[rows[inside].astype(int) // self.side, cols[inside].astype(int) // self.side]
        return held


@dataclass(frozen=True)
class LearntImages:
    """All ground that a model and its initial model were trained on.

    Args:
        images: each with its training part.
        complete: False if an initial model has no record of its ground.
    """

    images: tuple[LearntGround, ...]
    complete: bool

    @classmethod
    def of_card(cls, about: Mapping[str, Any]) -> "LearntImages":
        """Read the record of a model file; a file without one is incomplete.

        Raises:
            ModelError: the card is damaged.
        """
        told = about.get("ground")
        if told is None:
            return cls((), complete="split" not in about)
        try:
            return cls(tuple(map(LearntGround.from_dict, told["images"])), bool(told["complete"]))
        except (KeyError, TypeError) as error:
            raise ModelError("the model's card tells damaged learnt ground; train the model again") from error

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"complete": self.complete, "images": [each.as_dict() for each in self.images]}

    def with_more(self, ground: Sequence[LearntGround]) -> "LearntImages":
        """With further ground; duplicates count once."""
        by_text = {str(each.as_dict()): each for each in (*ground, *self.images)}
        return LearntImages(tuple(by_text.values()), self.complete)

    def share(self, scenes: Sequence[tuple[Scene, Callable[[], str]]]) -> float:
        """Share of labelled pixels on this ground, 0 to 1, estimated from a sample.

        Args:
            scenes: each with what gives its `pixel_digest`, asked for where sizes agree.
        """
        return learnt_share(self.images, scenes)


def learnt_share(ground: Sequence[LearntGround], scenes: Sequence[tuple[Scene, Callable[[], str]]]) -> float:
    """As `LearntImages.share`, of some learnt ground."""
    learnt = total = 0.0
    for scene, digest in scenes if ground else ():
        for rows, cols, each_stands_for in _labelled(scene):
            known = np.zeros(len(rows), bool)
            for each in ground:
                known |= each.holds(*_places(each, scene, digest, rows, cols))
            learnt, total = learnt + known.sum() * each_stands_for, total + len(rows) * each_stands_for
    return float(learnt / max(1.0, total))


def pixel_digest(scene: Scene) -> str:
    """SHA-256 of the bands that are used, as stored: the same for a copy in another format or under another name."""
    digest = hashlib.sha256()
    for window in scene.windows():
        digest.update(scene.read(window.row_off, window.col_off, window.height, window.width).pixels.tobytes())
    return digest.hexdigest()


def _labelled(scene: Scene) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], float]]:
    """Rows and columns of some labelled pixels of each strip, and how many each of them stands for."""
    for window in scene.windows():
        found = np.flatnonzero(scene.labels.read(window) != NODATA)
        if len(found):
            taken = np.random.default_rng(window.row_off).permutation(found)[:_LOOKED_AT]
            rows, cols = np.divmod(taken, window.width)
            yield rows + window.row_off, cols, len(found) / len(taken)


def _places(
    ground: LearntGround, scene: Scene, digest: Callable[[], str], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of a scene's pixels in an image that was learnt; negative where they have nothing in common."""
    if ground.size == (scene.source.height, scene.source.width) and ground.digest == digest():
        return rows.astype(float), cols.astype(float)
    where = scene.source.info.georeference
    if where.crs is None or ground.crs is None or ground.transform is None:
        return np.full(len(rows), -1.0), np.full(len(cols), -1.0)
    x, y = where.transform @ (cols + 0.5, rows + 0.5)
    if (crs := where.crs.to_string()) != ground.crs:
        with gdal_calls(f"{scene.source.info.path}: its CRS cannot be compared with that of the model's ground"):
            x, y = map(np.asarray, reprojected(crs, ground.crs, x, y))
    cols_there, rows_there = ~rasterio.Affine(*ground.transform) @ (x, y)
    return rows_there, cols_there
