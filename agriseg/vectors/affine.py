"""Shapes by an affine map: pixels to ground and back."""

from typing import TypeVar

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray

S = TypeVar("S", shapely.Geometry, NDArray[np.object_])


def moved(shapes: S, to: rasterio.Affine) -> S:
    """One shape, or an array of them, with every vertex (x, y) at `to @ (x, y)`."""
    result: S = shapely.transform(shapes, lambda xy: np.stack(to @ (xy[:, 0], xy[:, 1]), axis=1))
    return result
