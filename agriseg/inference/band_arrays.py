"""The pixels of a band on the device, and the layers that become of them."""

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.inference.plan import Plan, TileRowGroup
from agriseg.legend import NODATA
from agriseg.raster.reader import PixelStrip


class BandArrays:
    """Pixels, validity and layers of a band, all on the device; nothing here waits for it but `finished`.

    Args:
        strip: the pixels of `plan.read_window(band)`.
    """

    def __init__(self, plan: Plan, band: TileRowGroup, strip: PixelStrip, device: torch.device) -> None:
        height, width = band.rows[1] - band.rows[0], plan.roi.width
        self.window = strip.window
        self._known = strip.valid
        self.pixels = upload(torch.from_numpy(strip.pixels), device)
        self.valid = upload(torch.from_numpy(strip.valid), device)
        self.layers = {
            name: torch.full((bands, height, width), NODATA, dtype=torch.uint8, device=device)
            for name, bands in plan.layers.items()
        }
        self._row_off, self._col_off = band.rows[0], plan.roi.col_off

    def valid_in(self, window: Window) -> torch.Tensor:
        """Validity (h, w) bool of a raster window."""
        return self.valid[window.within(self.window)]

    def any_valid(self, window: Window) -> bool:
        """Whether a pixel of a window is valid; asks the host."""
        return bool(self._known[window.within(self.window)].any())

    def put(self, name: str, values: torch.Tensor, window: Window) -> None:
        """Set (bands, h, w) uint8 values of a layer; nodata where a pixel is not valid."""
        row, col = window.row_off - self._row_off, window.col_off - self._col_off
        place = self.layers[name][:, row : row + window.height, col : col + window.width]
        hidden = self.valid_in(window).view(torch.uint8) - 1  # 0 where valid, else all bits, which is nodata
        place.copy_(values.bitwise_or_(hidden), non_blocking=True)

    def finished(self) -> dict[str, NDArray[np.uint8]]:
        """The layers (bands, h, w) on the host, when the device is done."""
        return {name: layer.cpu().numpy() for name, layer in self.layers.items()}


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device, without waiting until it is there; the tensor itself on a CPU."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)
