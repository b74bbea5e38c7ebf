"""The image's quick look, gathered while the bands are read: the raster is decoded once.

Each band keeps the means of the cells that its pixels cover, as a compressed object with a checksum in the storage of
the run. What is missing or damaged at the end is read from the raster.
"""

import hashlib
import zlib

import numpy as np

from agriseg.figures.cell_means import CellMeans
from agriseg.figures.quicklook import quicklook_cells, shown_roles
from agriseg.inference.plan import TileRowGroup
from agriseg.mapping.prepare import MappingJob
from agriseg.raster.reader import PixelStrip
from agriseg.storage.base import Storage

IMAGE_MEANS = "image_means"
"""Name below which the storage has them."""
_CHECK = 16  # bytes


class ImageMeans:
    """Means of the image over the cells of its quick look.

    Args:
        bands: all bands of the plan.
        key: of the run; means of another key are not of this run.
    """

    def __init__(self, job: MappingJob, bands: list[TileRowGroup], place: Storage, key: str) -> None:
        self._job, self._bands, self._place = job, bands, place
        self._key = hashlib.sha256(key.encode()).digest()
        self._shown = shown_roles(job.model.bands)
        self._cells = quicklook_cells(job.plan.roi)
        self._edges = self._cells.rows

    def gather(self, index: int, strip: PixelStrip) -> None:
        """Keep the means of the cells of a band, from the pixels it reads; StorageError if that fails."""
        if cells := self._of_band(index):
            found = self._cells.means(strip, self._shown, cells)
            data = zlib.compress(found.means.tobytes() + found.valid.tobytes(), level=1)
            self._place.put(f"{IMAGE_MEANS}/{index}", self._checksum(index, data) + data)

    def all(self) -> CellMeans:
        """All means; DataError if the raster must be read again and cannot be."""
        made, done = CellMeans.zeros(len(self._shown), self._cells.height, self._cells.width), 0
        for index in range(len(self._bands)):
            cells = self._of_band(index)
            if (kept := self._kept(index, cells)) is not None:
                self._read(made, range(done, cells.start))
                made.put(cells.start, kept)
                done = cells.stop
        self._read(made, range(done, self._cells.height))
        return made

    def _of_band(self, index: int) -> range:
        """Rows of cells that a band reads as a whole, and none above it does."""
        plan, tops, stops = self._job.plan, self._edges[:-1], self._edges[1:]
        window = plan.read_window(self._bands[index])
        above = plan.read_window(self._bands[index - 1]).row_stop if index else 0
        first = max(int(np.searchsorted(tops, window.row_off)), int(np.searchsorted(stops, above, "right")))
        return range(first, max(first, int(np.searchsorted(stops, window.row_stop, "right"))))

    def _kept(self, index: int, cells: range) -> CellMeans | None:
        """What `gather` has kept; None if there is nothing, or it is damaged."""
        data = self._place.get(f"{IMAGE_MEANS}/{index}") if cells else None
        if data is None or data[:_CHECK] != self._checksum(index, data[_CHECK:]):
            return None
        shape, content = (len(self._shown), len(cells), self._cells.width), zlib.decompress(data[_CHECK:])
        means = np.frombuffer(content, np.float32, int(np.prod(shape))).reshape(shape)
        return CellMeans(means, np.frombuffer(content, bool, offset=means.nbytes).reshape(shape[1:]))

    def _read(self, made: CellMeans, cells: range) -> None:
        """Put means that were not kept, from the raster."""
        if cells:
            made.put(cells.start, self._cells.read(self._job.model_input.source, self._shown, cells))

    def _checksum(self, index: int, data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=_CHECK, key=self._key + index.to_bytes(8, "little")).digest()
