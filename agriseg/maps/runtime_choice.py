"""Which runtime `--backend auto` chose for a raster, and how fast the installed ones were."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RuntimeSpeed:
    """One runtime on some tiles of the raster.

    Args:
        runtime: as `--backend` names it.
        megapixels_per_second: of the network alone, on the fastest tile.
        equal: share of the pixels with data with the label of the reference, in [0, 1].
    """

    runtime: str
    megapixels_per_second: float
    equal: float


@dataclass(frozen=True)
class RuntimeChoice:
    """A choice, which a run that is resumed keeps.

    Args:
        runtime: the chosen one, as `--backend` names it.
        model: fingerprint of the model.
        reason: why this one, for a reader.
        speeds: what was measured; empty where nothing was.
    """

    runtime: str
    model: str
    reason: str
    speeds: tuple[RuntimeSpeed, ...] = ()

    @property
    def text(self) -> str:
        """One sentence for a reader: `runtime onnxruntime: the fastest (torch 1.68, onnxruntime 2.29 Mpx/s)`."""
        speeds = ", ".join(f"{each.runtime} {each.megapixels_per_second:.3g}" for each in self.speeds)
        return f"runtime {self.runtime}: {self.reason}{f' ({speeds} Mpx/s)' if speeds else ''}"
