"""Error-adjusted areas with a 95 % interval, from the confusion matrix of the model's validation.

The estimate is stratified by the classes of the map (Olofsson et al. 2014, "Good practices for estimating area and
assessing accuracy of land change", Remote Sensing of Environment 148, eq. 9 to 11).

The standard error there assumes independent reference pixels. Neighbouring labelled pixels are correlated, so blocks of
pixels are the samples here (ratio estimator for clusters, Cochran 1977, "Sampling Techniques", eq. 6.12). The mapped
field is one more sample: it adds a variance, which is larger for a smaller field.

Without any error in the validation the variance between blocks is 0, which is too small. The variances of a mapped
class are therefore at least that of half an error in n + 1 samples (Jeffreys' prior); a block counts as at most ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from agriseg.errors import DataError
from agriseg.maps.record import RunRecord
from agriseg.options.run import RunOptions

_UPPER = 0.975  # end of the middle 95 %
_BLEND = RunOptions().blend
_GSD_RATIO = 1.25  # of map and validation, above which the validation does not apply
_BLOCK_SAMPLES = 10  # independent samples in a block, at most: its pixels are correlated


@dataclass(frozen=True)
class AreaEstimate:
    """Error-adjusted areas, in the unit of the mapped areas.

    Args:
        area: (K,) estimates; they sum to what was mapped.
        low, high: (K,) ends of the 95 % interval; never below 0 or above what was mapped.
    """

    area: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class ErrorMatrix:
    """True classes under each class of the map, from the validation.

    Args:
        share: (K, K) of the pixels mapped as i those that are k; a row sums to 1, or is NaN if nothing was mapped so.
        covariance: (K, K, K) for each true class k, of the shares of two mapped classes.
        pixels, blocks: numbers of validated pixels, and of the blocks of ground that they lie in.
    """

    share: NDArray[np.float64]
    covariance: NDArray[np.float64]
    pixels: int
    blocks: int

    @classmethod
    def of(cls, blocks: NDArray[np.int64]) -> "ErrorMatrix | None":
        """From confusions of blocks of ground, (B, K, K) with rows the truth; None from fewer than two blocks."""
        if len(blocks) < 2:
            return None
        mapped = blocks.sum(1)  # (B, K)
        total = mapped.sum(0)
        with np.errstate(invalid="ignore"):
            share = blocks.sum(0).T / total[:, None]
            # what a block has more of truth k under class i than its share: (B, i, k)
            excess = (blocks.transpose(0, 2, 1) - share * mapped[..., None]) / total[:, None]
        count = len(blocks)
        covariance = count / (count - 1) * np.einsum("bik,bjk->kij", excess, excess)
        own = np.arange(len(total))
        seen, least = covariance[:, own, own], _least_variance(mapped)
        covariance[:, own, own] = np.where(seen.max(0) < least, np.maximum(seen, least), seen)
        return cls(share, covariance, int(total.sum()), count)

    def adjust(self, mapped: NDArray[np.float64], pixels: int) -> AreaEstimate | None:
        """Correct the mapped area (K,) of each class; None if the map shows a class that the validation never did.

        `pixels` are the valid ones of the map: a smaller field has a larger variance.
        """
        shown = mapped > 0
        total = mapped.sum()
        if not total or np.isnan(self.share[shown]).any():
            return None
        share, weight = self.share[shown], mapped[shown] / total
        estimate = weight @ share
        spread = np.einsum("i,kij,j->k", weight, self.covariance[:, shown][:, :, shown], weight)
        quantile = stdtrit(self.blocks - 1, _UPPER)  # of Student's distribution: the spread is itself an estimate
        error = quantile * np.sqrt(spread * (1 + self.pixels / max(1, pixels)))
        low, high = np.maximum(estimate - error, 0), np.minimum(estimate + error, 1)
        return AreaEstimate(estimate * total, low * total, high * total)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; NaN is null in files."""
        arrays = {"share": self.share.tolist(), "covariance": self.covariance.tolist()}
        return {**arrays, "pixels": self.pixels, "blocks": self.blocks}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], classes: int) -> "ErrorMatrix":
        """Read `as_dict`.

        Raises:
            DataError: it is damaged, or of another number of classes.
        """
        try:
            share, covariance = (np.array(values[name], np.float64) for name in ("share", "covariance"))
            pixels, blocks = int(values["pixels"]), int(values["blocks"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the model's agreement with its labels cannot be read ({error}); evaluate it again"
            ) from error
        if share.shape != (classes,) * 2 or covariance.shape != (classes,) * 3:
            raise DataError(f"the model's agreement with its labels is not of {classes} classes; evaluate it again")
        return cls(share, covariance, pixels, blocks)


def other_making(record: RunRecord, gsd: tuple[float, float] | None, *, cleaned: bool) -> str | None:
    """Why the validation does not apply to a map with this GSD in metres and, maybe, clean-up; None if it does.

    `agriseg train` validates maps with the default blend, at the GSD of the images, without clean-up.
    """
    if record.min_confidence is not None:
        return "the map leaves unsure pixels out of its classes, the validation's has a class everywhere"
    if cleaned:
        return "the mask is cleaned up, with other errors than the network's own"
    blend = record.parameters.blend
    if blend != _BLEND:
        return f"the map is made with --blend {blend}, the validation's with {_BLEND}"
    wanted, own = record.run_options.gsd, record.model.gsd_m
    if own is None:
        return None if isinstance(wanted, str) else "the map is resampled, the validation's resolution is unknown"
    if gsd is not None and max(max(gsd) / own, own / min(gsd)) > _GSD_RATIO:
        return f"the map has pixels of {max(gsd):.3g} m, the validation's had {own:.3g} m"
    return None


def _least_variance(mapped: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of a share of each mapped class, (K,), by the pixels that blocks have of it, (B, K); NaN of none."""
    total = mapped.sum(0)
    with np.errstate(invalid="ignore"):
        blocks = total**2 / (mapped.astype(np.float64) ** 2).sum(0)  # Kish's effective number
    samples = np.minimum(total, _BLOCK_SAMPLES * blocks)
    share = 0.5 / (samples + 1)
    return np.asarray(share * (1 - share) / (samples + 1), np.float64)
