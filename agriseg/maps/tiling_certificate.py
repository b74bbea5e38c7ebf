"""What is known of a tiling that was chosen by measurement: its work, and how many labels it changes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TilingCertificate:
    """Labels of a tiled map beside those of an untiled run, by a measurement on some windows of the raster.

    Args:
        windows: that were compared; 0 where the margin covers all that the network sees and nothing was measured.
        pixels_compared: valid pixels near a cut through these windows.
        disagreement: expected share of the labels of the map unlike those of an untiled run.
        disagreement_95: its 95 % interval, from the spread between the windows.
        default_disagreement: of the default tiles, by the same windows; None where nothing was measured.
        tolerance: largest share that the choice allowed.
        within_tolerance: whether a tiling with no more work than the default one keeps to it.
        work: pixels that the network takes per pixel of the map.
        default_work: with the default tiles.
        probe_work: for the measurement.
    """

    windows: int
    pixels_compared: int
    disagreement: float
    disagreement_95: tuple[float, float]
    default_disagreement: float | None
    tolerance: float
    within_tolerance: bool
    work: float
    default_work: float
    probe_work: float

    @property
    def labels(self) -> str:
        """The disagreement with its interval: `0.045 % (0.021 % to 0.069 %)`."""
        low, high = self.disagreement_95
        return f"{_percent(self.disagreement)} ({_percent(low)} to {_percent(high)})"

    @property
    def text(self) -> str:
        """One sentence for a reader."""
        labels = (
            f"of the labels {self.labels} differ from an untiled run, {_percent(self.default_disagreement)} with the "
            "default tiles"
            if self.default_disagreement is not None and self.disagreement
            else "the labels equal those of an untiled run"
        )
        probe = f" and {self.probe_work:.2f} to measure" if self.probe_work else ""
        work = f"{self.work:.2f} network pixels per pixel{probe} instead of {self.default_work:.2f}"
        missed = "" if self.within_tolerance else f"; no such tiles keep to {_percent(self.tolerance)}"
        return f"{work}; {labels}{missed}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
