"""What a map is worth: labels unlike the untiled run, and how visible its tiles are."""

import numpy as np
from numpy.typing import NDArray

from agriseg.metrics import ClassChanges
from benchmarks.peers.task import Mapped


def unlike_share(classes: NDArray[np.uint8], untiled: NDArray[np.uint8], valid: NDArray[np.bool_]) -> float:
    """Share of the valid pixels with another class than untiled; a valid pixel without a class is unlike too.

    Args:
        classes, untiled: (h, w) class ids.
        valid: (h, w), at least one True.

    Raises:
        ValueError: the maps differ in size.
    """
    if not classes.shape == untiled.shape == valid.shape:
        raise ValueError(f"maps of {classes.shape}, {untiled.shape} and {valid.shape} px, expected one size")
    return float((classes != untiled)[valid].mean())


def seam_ratio(classes: NDArray[np.uint8], mapped: Mapped) -> float | None:
    """How much more often the class changes where tiles meet than elsewhere; see `ClassChanges.ratio`."""
    changes = ClassChanges(classes.shape[1])
    changes.add(classes)
    return changes.ratio(mapped.col_seams, mapped.row_seams)
