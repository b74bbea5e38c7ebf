"""A map against labels: counted over whole rasters, in strips of bounded size."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.errors import DataError
from agriseg.evaluation.calibrate import Calibration, CalibrationSampler
from agriseg.evaluation.learnt_share import LearntShare, learnt_by_model
from agriseg.grid import Window
from agriseg.labels.label_set import LabelRequest, LabelSet
from agriseg.labels.loading import load_labels
from agriseg.labels.raster import LabelRaster, Value, misfit
from agriseg.legend import CONFIDENCE_STEP, NODATA, Legend
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Execution, run
from agriseg.metrics import ClassScores, bootstrap, boundary_band, calibration_error, confusion, mean_iou
from agriseg.model import SegmentationModel, load_model
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule

BLOCK = 256
"""Side of the squares of ground that the bootstrap draws (px)."""
EDGE = 3
"""Width of the band that boundary IoU compares (px)."""

_DOUBT = 0.1  # of a block: what may be wrong where no error was seen
_LEAST_BLOCKS = 2  # of which one alone has no spread
_LEVELS = round(1 / CONFIDENCE_STEP) + 1


@dataclass(frozen=True)
class EvaluationCounts:
    """What one map and its labels count to; tallies of several rasters add up.

    Args:
        blocks: (B, K, K) int64 confusion of each block with a labelled pixel, rows are the truth.
        boundary: (K, 2) int64 pixels in both edge bands, and in either.
        pixels, hits: (251,) int64 labelled pixels by confidence, and how many of them are right; empty without it.
    """

    blocks: NDArray[np.int64]
    boundary: NDArray[np.int64]
    pixels: NDArray[np.int64]
    hits: NDArray[np.int64]

    def __add__(self, other: "EvaluationCounts") -> "EvaluationCounts":
        return EvaluationCounts(
            np.concatenate([self.blocks, other.blocks]), self.boundary + other.boundary,
            self.pixels + other.pixels, self.hits + other.hits,
        )  # fmt: skip


def count_pixels(
    mask: Path, confidence: Path | None, labels: LabelRaster, classes: int, origin: tuple[int, int] | None = None
) -> EvaluationCounts:
    """Count a mask against labels.

    Args:
        mask: class ids, 255 nodata; a pixel of it that is nodata counts nowhere.
        confidence: the layer of the same run, or None.
        labels: on the grid of the raster that was mapped.
        classes: number of them, K.
        origin: column and row of the raster at which the mask begins; None if all of it was mapped.

    Raises:
        DataError: the mask reaches beyond the labels, or lies elsewhere.
    """
    info = RasterInfo.read(mask)
    _check_place(info, labels, origin)
    start = origin or (0, 0)
    rows_of_blocks = [
        _strip(mask, confidence, labels, classes, start, Window(0, top, info.width, min(BLOCK, info.height - top)))
        for top in range(0, info.height, BLOCK)
    ]
    total = rows_of_blocks[0]
    for each in rows_of_blocks[1:]:
        total += each
    return total


@dataclass(frozen=True)
class Evaluation:
    """Scores of a map.

    Args:
        legend: the classes.
        tally: all counts.
        calibration: the temperature that would suit these labels, or None for a finished mask.
        learnt: how much of the labels the model has learnt, or None for a finished mask.
    """

    legend: Legend
    tally: EvaluationCounts
    calibration: Calibration | None = None
    learnt: LearntShare | None = None

    @property
    def matrix(self) -> NDArray[np.int64]:
        """(K, K) confusion, rows are the truth."""
        return np.asarray(self.tally.blocks.sum(0), np.int64)

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that are in the truth."""
        return mean_iou(self.matrix)

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of classes that are not in the truth; nothing scores them."""
        return tuple(self.legend.names[k] for k in np.flatnonzero(self.matrix.sum(1) == 0))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a reader should know before trusting the scores."""
        said = [each.doubt for each in (self.learnt, self.calibration) if each is not None]
        if self.absent:
            mean = f"the mean of {len(self.legend) - len(self.absent)} of {len(self.legend)} classes"
            said.append(f"{', '.join(self.absent)}: in no label that was scored, so the mIoU is {mean}")
        return tuple(text for text in said if text)

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values; the rarest class first."""
        scores, (interval, mean) = ClassScores.of(self.matrix), _intervals(self.tally.blocks)
        both, either = self.tally.boundary.T
        agreement = ErrorMatrix.of(self.tally.blocks)
        entries = [
            {
                "name": self.legend.names[k], "support": int(scores.support[k]), "iou": _number(scores.iou[k]),
                "iou_95": [_number(end[k]) for end in interval], "precision": _number(scores.precision[k]),
                "recall": _number(scores.recall[k]), "f1": _number(scores.f1[k]),
                "boundary_iou": _number(both[k] / either[k] if either[k] else np.nan),
            }
            for k in np.argsort(scores.support, kind="stable")
        ]  # fmt: skip
        return {
            "miou": _number(self.miou), "miou_95": [_number(end) for end in mean],
            "miou_classes": len(self.legend) - len(self.absent), "absent": list(self.absent),
            "doubts": list(self.doubts), "classes": entries,
            "pixels": int(self.matrix.sum()), "blocks": len(self.tally.blocks), "block_px": BLOCK, "edge_px": EDGE,
            "expected_calibration_error": _number(calibration_error(self.tally.pixels, self.tally.hits)),
            "learnt_share": None if self.learnt is None else self.learnt.share,
            "fitted": None if self.calibration is None else asdict(self.calibration),
            "confusion": {"classes": list(self.legend.names), "rows_are_truth": self.matrix.tolist()},
            "agreement": None if agreement is None else agreement.as_dict(),
        }  # fmt: skip


def evaluate(
    model: SegmentationModel | Path | str, images: Path | str, labels: Path | str, *, label_suffix: str = "",
    values: Sequence[Value] | None = None, unlabelled: Sequence[Value] = (), column: str | None = None,
    area: Path | None = None, reproject_labels: bool = False, rest: str | None = None,
    rename: Mapping[str, str] | None = None, point_radius: str | None = None, folder: Path | None = None, **flags: Any,
) -> Evaluation:  # fmt: skip
    """Map rasters with a model and score the maps against labels.

    Args:
        model: a model or its file.
        images: a raster, or a folder of them.
        labels: its label raster, polygons or annotations, or the folder of them.
        label_suffix: what a label's name adds to its image's.
        values: label value of each class; 0, 1, 2, ... if None.
        unlabelled: label values that mean that nobody knows, beside 255.
        column: of polygons, that holds class names.
        area: polygons within which all was labelled.
        reproject_labels: lay label rasters of another grid or CRS on their images', by the nearest label.
        rest: class of what no shape covers, where all was labelled.
        rename: names in annotations or polygons, and the classes that they are; empty for unlabelled.
        point_radius: of the discs that points become, such as `8px` or `5cm`.
        folder: gets the maps; None keeps none.
        flags: fields of `RunOptions`.

    Raises:
        AgrisegError: labels that do not lie on their raster, numbers that are no class, or whatever stops a run.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="agriseg-") as spare:
            return evaluate(
                model, images, labels, label_suffix=label_suffix, values=values, unlabelled=unlabelled, column=column,
                area=area, reproject_labels=reproject_labels, rest=rest, rename=rename,
                point_radius=point_radius, folder=Path(spare), **flags,
            )  # fmt: skip
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    options = RunOptions.of(**flags)
    request = LabelRequest(
        Path(images), Path(labels), model.legend.names, label_suffix, None if values is None else tuple(values),
        tuple(unlabelled), column, area, reproject_labels, 1, rest, tuple((rename or {}).items()), point_radius,
    )  # fmt: skip
    found = load_labels(request, folder)
    found.refuse()
    return evaluate_labelled(model, found, folder, options)


def evaluate_labelled(model: SegmentationModel, found: LabelSet, folder: Path, options: RunOptions) -> Evaluation:
    """Map labelled rasters with a model and score the maps.

    Args:
        model: what maps them.
        found: images with labels, without problems.
        folder, options: where the maps go, and how they are made, at the images' own resolution.
    """
    witness = CalibrationSampler()
    counted = [count_model(model, each.pair.image, each.labels, folder, options, witness) for each in found.images]
    return replace(score(counted, model.legend, witness), learnt=learnt_by_model(model, found.images, options))


def count_model(
    model: SegmentationModel, image: Path, labels: LabelRaster, folder: Path, options: RunOptions,
    witness: CalibrationSampler | None = None,
) -> EvaluationCounts:  # fmt: skip
    """Map a raster with a model, as `agriseg run` does, and count the map against labels.

    Args:
        model: what maps it.
        image: the raster.
        labels: on its grid.
        folder: gets the map, over one of an earlier call.
        options: how it is mapped; native resolution, since labels lie on the raster's own grid.
        witness: keeps logits for a calibration.
    """
    options = replace(options, gsd="native", probabilities=False)
    outputs = Outputs(folder, image.stem, with_probabilities=False, overwrite=True, with_pictures=False)
    report = run(
        prepare(image, model, options), outputs, manner=Execution(watch=witness.of(labels) if witness else None)
    )
    origin = (options.window.col_off, options.window.row_off) if options.window else None
    return count_pixels(report.classes, report.confidence, labels, len(model.legend), origin)


def score(tallies: Sequence[EvaluationCounts], legend: Legend, witness: CalibrationSampler | None = None) -> Evaluation:
    """Scores over one or more rasters, from the sum of their counts; with a fitted temperature if there is a witness.

    Raises:
        DataError: no pixel is both labelled and mapped.
    """
    total = tallies[0]
    for each in tallies[1:]:
        total += each
    if not total.blocks.sum():
        raise DataError("no pixel is both labelled and mapped; nothing can be said about the map")
    return Evaluation(legend, total, witness.calibration() if witness else None)


def _strip(
    mask: Path, confidence: Path | None, labels: LabelRaster, classes: int, origin: tuple[int, int], window: Window
) -> EvaluationCounts:
    """Count one row of blocks; the edge bands look a little beyond it."""
    info = RasterInfo.read(mask)
    top, bottom = max(0, window.row_off - EDGE), min(info.height, window.row_stop + EDGE)
    wide = Window(0, top, info.width, bottom - top)
    there = Window(wide.col_off + origin[0], wide.row_off + origin[1], wide.width, wide.height)
    truth, mapped = labels.read(there), _band(mask, wide)
    inner = slice(window.row_off - top, window.row_off - top + window.height)
    counted = (truth != NODATA) & (mapped != NODATA)
    truth, mapped = (np.where(counted, each, NODATA) for each in (truth, mapped))  # a hole in one makes no edge
    boundary = np.zeros((classes, 2), np.int64)
    for k in range(classes):
        true_edge, mapped_edge = boundary_band(truth == k, EDGE), boundary_band(mapped == k, EDGE)
        boundary[k] = (true_edge & mapped_edge)[inner].sum(), (true_edge | mapped_edge)[inner].sum()
    truth, mapped, counted = truth[inner], mapped[inner], counted[inner]
    starts = range(0, info.width, BLOCK)
    blocks = [confusion(truth[:, col : col + BLOCK], mapped[:, col : col + BLOCK], classes) for col in starts]
    pixels, hits = np.zeros(_LEVELS, np.int64), np.zeros(_LEVELS, np.int64)
    if confidence is not None:
        sure = _band(confidence, window)
        pixels += np.bincount(sure[counted], minlength=_LEVELS)
        hits += np.bincount(sure[counted & (truth == mapped)], minlength=_LEVELS)
    return EvaluationCounts(
        np.array([block for block in blocks if block.any()]).reshape(-1, classes, classes), boundary, pixels, hits
    )


def _band(path: Path, window: Window) -> NDArray[np.uint8]:
    info = RasterInfo.read(path)
    with Reader(Source(info, (1,), ValidityRule.of(info), info.width, info.height)) as reader:
        return np.asarray(reader.read(window).pixels[0], np.uint8)


def _check_place(mask: RasterInfo, labels: LabelRaster, origin: tuple[int, int] | None) -> None:
    """The mask must lie on the labels' grid: all over it, or on the part that begins at `origin`."""
    whole = labels.info
    if origin is None:
        problem = misfit(mask, whole)
    elif origin[0] + mask.width > whole.width or origin[1] + mask.height > whole.height:
        problem = f"{mask.path}: reaches beyond its labels {whole.path}"
    else:
        where = whole.georeference.shifted(*origin)
        problem = misfit(mask, replace(whole, width=mask.width, height=mask.height, georeference=where))
    if problem:
        raise DataError(problem)


def _intervals(blocks: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % intervals of the IoU of each class, (2, K), and of their mean, (2,), by draws of blocks.

    One more block is drawn, in which each class has a tenth of what blocks have of it, all wrong: no error among a
    handful is not known to be none ever. NaN for a class, or for the mean, that a single block shows.
    """
    hits = np.diagonal(blocks, axis1=1, axis2=2)
    either = blocks.sum(1) + blocks.sum(2) - hits
    showing = np.count_nonzero(either, axis=0)
    doubt = _DOUBT * either.sum(0) / np.maximum(showing, 1)
    parts = np.concatenate([np.stack([hits, either], axis=2), np.stack([0 * doubt, doubt], axis=1)[None]])
    each = np.array(bootstrap(parts, _share))
    each[:, showing < _LEAST_BLOCKS] = np.nan
    mean = np.array(bootstrap(parts, lambda sums: np.array(np.nanmean(_share(sums)))))
    return each, mean if len(blocks) >= _LEAST_BLOCKS else np.full(2, np.nan)


def _share(sums: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of each class from (K, 2) pixels in both and in either; NaN for a class that is in neither."""
    return np.asarray(np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0))


def _number(value: float | np.floating[Any]) -> float | None:
    """A JSON number; NaN is null."""
    return None if np.isnan(value) else float(value)
