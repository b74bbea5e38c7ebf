"""The layers of a run: one table of the rasters that it publishes as `<stem>_<name>.tif`."""

from dataclasses import dataclass
from typing import Literal

from agriseg.legend import CONFIDENCE_STEP, Legend


@dataclass(frozen=True)
class RunLayer:
    """A raster of uint8 with nodata 255.

    Args:
        name: in file names and in the block store.
        band: name of its one band; None for a layer with a band for each class.
        style: kind of its QGIS style, see `raster.qml.run_layer_style`; a palette has the legend's colours and names.
        scale: physical value of one count.
    """

    name: str
    band: str | None
    style: Literal["palette", "confidence", "probability"]
    resampling: Literal["mode", "average"]
    scale: float = 1.0

    def band_names(self, legend: Legend) -> tuple[str, ...]:
        """Names of its bands, in their order."""
        return legend.names if self.band is None else (self.band,)

    @property
    def raster(self) -> str:
        """End of the name of its GeoTIFF."""
        return f"{self.name}.tif"

    @property
    def sidecars(self) -> tuple[str, ...]:
        """Ends of the names of its QGIS style and, with a palette, of its class names for GDAL and ArcGIS."""
        return (f"{self.name}.qml", *((f"{self.raster}.aux.xml",) if self.style == "palette" else ()))


CLASSES = RunLayer("classes", "class", "palette", "mode")
CONFIDENCE = RunLayer("confidence", "confidence", "confidence", "average", CONFIDENCE_STEP)
PROBABILITIES = RunLayer("probabilities", None, "probability", "average", CONFIDENCE_STEP)

RUN_LAYERS = (CLASSES, CONFIDENCE, PROBABILITIES)
"""All of them; probabilities are optional."""


def run_layers(*, probabilities: bool) -> tuple[RunLayer, ...]:
    """The layers of one run."""
    return tuple(layer for layer in RUN_LAYERS if probabilities or layer is not PROBABILITIES)
