"""The block store: the map while it is being made, each block written once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from agriseg.legend import NODATA
from agriseg.storage.base import Storage

_BLOCK_COLS = 4096
_NAME = "blocks"


class BlockStore:
    """uint8 layers of one size, in blocks of whole tile rows; nodata where nothing was written.

    Args:
        place: where it lives, under the name `blocks`.
        layers: names of its arrays, (bands, lead + height, width).
        lead: rows by which the first block boundary lies before row 0.

    Raises:
        ValueError, KeyError, the place's troubles: there is no store, or it is damaged.
    """

    def __init__(self, place: Storage, layers: Iterable[str], lead: int) -> None:
        self._place = place
        self._lead = lead
        group = zarr.open_group(place.zarr_store(_NAME), mode="r+")
        self._layers: dict[str, zarr.Array[Any]] = {name: _array(group[name]) for name in layers}
        _, rows, self.width = next(iter(self._layers.values())).shape
        self.height = rows - lead

    @classmethod
    def create(
        cls, place: Storage, layers: Mapping[str, int], height: int, width: int, *, block_rows: int, lead: int
    ) -> "BlockStore":
        """An empty store; one that is there is removed first.

        Args:
            place: where it will live.
            layers: name to number of bands.
            height, width: pixels of the map.
            block_rows: rows of a block.
            lead: see the class.
        """
        place.drop(_NAME)
        group = zarr.create_group(place.zarr_store(_NAME))
        for name, bands in layers.items():
            chunks = (1, min(block_rows, height + lead), min(_BLOCK_COLS, width))
            group.create_array(
                name, shape=(bands, height + lead, width), chunks=chunks, dtype="uint8", fill_value=NODATA
            )
        return cls(place, layers, lead)

    def write(self, layer: str, row_off: int, rows: NDArray[np.uint8]) -> None:
        """Write whole rows of a layer.

        Args:
            layer: its name.
            row_off: first row.
            rows: (bands, h, width).

        Raises:
            StorageError: they were not taken.
        """
        first = row_off + self._lead
        try:
            self._layers[layer][:, first : first + rows.shape[1]] = rows
        except self._place.troubles as error:
            raise self._place.failed(error) from error

    def read(self, layer: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows `[start, stop)` of a layer, (bands, stop - start, width)."""
        return np.asarray(self._layers[layer][:, start + self._lead : stop + self._lead])

    def layer(self, name: str) -> "BlockLayer":
        """One layer, to be published."""
        return BlockLayer(self, name, int(self._layers[name].shape[0]))


@dataclass(frozen=True)
class BlockLayer:
    """A layer of a store; `raster.cog.Rows`.

    Args:
        store: that it is in.
        name: of the layer.
        bands: of the layer.
    """

    store: BlockStore
    name: str
    bands: int
    dtype: str = "uint8"
    nodata: float = NODATA

    @property
    def height(self) -> int:
        """Rows."""
        return self.store.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.store.width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows `[start, stop)`, (bands, stop - start, width)."""
        return self.store.read(self.name, start, stop)


def _array(member: object) -> "zarr.Array[Any]":
    if not isinstance(member, zarr.Array):
        raise ValueError(f"{member} is no array")
    return member
