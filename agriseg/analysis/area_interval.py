"""Hectares with an error bar: what a map shows, corrected by how often each of its classes was right.

A map that calls one weed in five soil shows too few weeds, by an amount that the model's own validation tells. The
estimate is the stratified one of Olofsson et al. 2014 ("Good practices for estimating area and assessing accuracy of
land change", Remote Sensing of Environment 148, eq. 9 to 11), the classes of the map being the strata.

Its standard error there takes each reference pixel for a witness of its own. Labelled pixels lie side by side, so here
whole blocks of ground are the witnesses (ratio estimator for clusters, Cochran 1977, "Sampling Techniques", eq. 6.12),
and a mapped field counts as a further draw of ground: it adds a variance of its own, the larger the smaller it is.

Where no error was seen the spread between blocks is 0, and says nothing. So the variances of a mapped class are at
least that of half an error among the witnesses and one more (Jeffreys' prior), a block being at most ten of them.
"""

import math
from collections.abc import Mapping, Sequence
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
_GSD_RATIO = 1.25  # of pixels that are no longer those that were validated
_WITNESSES = 10  # that a block of ground is at most: its pixels agree as if about a tenth of each were its neighbours'


@dataclass(frozen=True)
class AreaEstimate:
    """Areas by truth instead of by map, in the unit of the areas given.

    Args:
        area: (K,) estimates; they sum to what was mapped.
        low, high: (K,) ends of the 95 % interval; never below 0 or above what was mapped.
    """

    area: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class ErrorMatrix:
    """What truth lies under each class of a map, by its validation.

    Args:
        share: (K, K) of the pixels mapped as i those that are k; a row sums to 1, or is NaN if nothing was mapped so.
        covariance: (K, K, K) for each true class k, of the shares of two mapped classes.
        pixels: that were validated.
        blocks: of ground that they lay in.
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
        """Correct mapped areas.

        Args:
            mapped: (K,) area of each class of the map.
            pixels: of the map, valid ones: how much ground it is.

        Returns:
            None where the map shows a class that the validation never did.
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
        """As JSON values; null for NaN."""
        return {
            "share": _listed(self.share),
            "covariance": _listed(self.covariance),
            "pixels": self.pixels,
            "blocks": self.blocks,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any], classes: int) -> "ErrorMatrix":
        """Read `as_dict`.

        Raises:
            DataError: it is damaged, or of another number of classes.
        """
        try:
            share, covariance = (np.array(told[name], np.float64) for name in ("share", "covariance"))
            pixels, blocks = int(told["pixels"]), int(told["blocks"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the model's agreement with its labels cannot be read ({error}); evaluate it again"
            ) from error
        if share.shape != (classes,) * 2 or covariance.shape != (classes,) * 3:
            raise DataError(f"the model's agreement with its labels is not of {classes} classes; evaluate it again")
        return cls(share, covariance, pixels, blocks)


def other_making(record: RunRecord, gsd: tuple[float, float] | None, *, cleaned: bool) -> str | None:
    """Why a validation does not tell the areas of a map; None if the map was made as those that were validated.

    Those are of `agriseg train`: with the default blend, in the images' own resolution, and as the network gives them.

    Args:
        record: of the run.
        gsd: of the map (m), along a row and along a column; None where unknown.
        cleaned: whether patches were removed, or edges smoothed.
    """
    if cleaned:
        return "the mask is cleaned up, with other errors than the network's own"
    blend = record.parameters.blend
    if blend != _BLEND:
        return f"the map is made with --blend {blend}, the validation's with {_BLEND}"
    asked, own = record.run_options.gsd, record.model.gsd_m
    if own is None:
        return None if isinstance(asked, str) else "the map is resampled, the validation's resolution is unknown"
    if gsd is not None and max(max(gsd) / own, own / min(gsd)) > _GSD_RATIO:
        return f"the map has pixels of {max(gsd):.3g} m, the validation's had {own:.3g} m"
    return None


def _least_variance(mapped: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of a share of each mapped class, (K,), by the pixels that blocks have of it, (B, K); NaN of none."""
    total = mapped.sum(0)
    with np.errstate(invalid="ignore"):
        blocks = total**2 / (mapped.astype(np.float64) ** 2).sum(0)  # Kish's effective number
    witnesses = np.minimum(total, _WITNESSES * blocks)
    share = 0.5 / (witnesses + 1)
    return np.asarray(share * (1 - share) / (witnesses + 1), np.float64)


def _listed(values: NDArray[np.float64]) -> Sequence[Any]:
    return (
        [None if math.isnan(each) else float(each) for each in values] if values.ndim == 1 else [*map(_listed, values)]
    )
