"""Block store: the layers of a map during its run; each block is written once."""

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
    """uint8 layers of one size, in blocks of whole tile rows; nodata until they are written.

    Args:
        place: its storage, under the name `blocks`.
        layers: names of its arrays, (bands, block_offset + height, width).
        block_offset: rows from the first block boundary to row 0.

    Raises:
        ValueError, KeyError, `errors` of the storage: there is no store, or it is damaged.
    """

    def __init__(self, place: Storage, layers: Iterable[str], block_offset: int) -> None:
        self._place = place
        self._block_offset = block_offset
        with zarr.config.set({"array.write_empty_chunks": True}):  # to look whether a block is empty takes zarr longer
            group = zarr.open_group(place.zarr_store(_NAME), mode="r+")
            self._layers: dict[str, zarr.Array[Any]] = {name: _array(group[name]) for name in layers}
        _, rows, self.width = next(iter(self._layers.values())).shape
        self.height = rows - block_offset

    @classmethod
    def create(
        cls, place: Storage, layers: Mapping[str, int], height: int, width: int, *, block_rows: int, block_offset: int
    ) -> "BlockStore":
        """An empty store that replaces an older one; `layers` is name to number of bands."""
        place.delete(_NAME)
        group = zarr.create_group(place.zarr_store(_NAME))
        for name, bands in layers.items():
            chunks = (1, min(block_rows, height + block_offset), min(_BLOCK_COLS, width))
            group.create_array(
                name, shape=(bands, height + block_offset, width), chunks=chunks, dtype="uint8", fill_value=NODATA
            )
        return cls(place, layers, block_offset)

    def write(self, layer: str, row_off: int, rows: NDArray[np.uint8]) -> None:
        """Write whole rows of a layer, (bands, h, width), from the row `row_off`; StorageError if that fails."""
        first = row_off + self._block_offset
        try:
            self._layers[layer][:, first : first + rows.shape[1]] = rows
        except self._place.errors as error:
            raise self._place.to_error(error) from error

    def read(self, layer: str, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows `[start, stop)` of a layer, (bands, stop - start, width)."""
        return np.asarray(self._layers[layer][:, start + self._block_offset : stop + self._block_offset])

    def layer(self, name: str) -> "BlockLayer":
        """One layer, for `write_cog`."""
        return BlockLayer(self, name, int(self._layers[name].shape[0]), self.height, self.width)


@dataclass(frozen=True)
class BlockLayer:
    """A layer of a store; a `RowSource` of `raster.cog`."""

    store: BlockStore
    name: str
    bands: int
    height: int
    width: int
    dtype: str = "uint8"
    nodata: float = NODATA

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows `[start, stop)`, (bands, stop - start, width)."""
        return self.store.read(self.name, start, stop)


def _array(member: object) -> "zarr.Array[Any]":
    if not isinstance(member, zarr.Array):
        raise ValueError(f"{member} is no array")
    return member
