"""The boxes of rasters: each raster is mapped once, and a few numbers a box are kept."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.grid import Window
from agriseg.labels.drawing import area_in_pixels
from agriseg.labels.learnt_images import LearntImages, on_learnt_ground, pixel_digest
from agriseg.mapping.compatibility import check_compatibility
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import MappingJob
from agriseg.mapping.run import Execution, Progress, run
from agriseg.options.run import RunOptions
from agriseg.options.suggest import SuggestOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.suggest.boxes import BoxGrid, BoxStatistics, BoxSurvey
from agriseg.suggest.ranking import Candidates
from agriseg.vectors.features import moved
from agriseg.vectors.geopackage import has_layer
from agriseg.vectors.ogr import count_features
from agriseg.vectors.read import layered

VALID = 0.75
"""Share of a box that must hold data."""
LABELLED = 0.5
"""Share of a box from which on it counts as labelled."""
_POINTS = 8  # a side, at which learnt ground is looked up in a box


@dataclass(frozen=True)
class SurveyedImage:
    """A raster and its boxes.

    Args:
        source: how the model reads it; boxes are on this grid.
        labelled: (N,) bool, boxes that are labelled already, by a file or in the training of the model.
        warnings: of the map that was made.
    """

    source: Source
    roles: tuple[str, ...]
    grid: BoxGrid
    statistics: BoxStatistics
    labelled: NDArray[np.bool_]
    warnings: tuple[str, ...]

    @property
    def image(self) -> Path:
        """The file."""
        return self.source.info.path

    def outline(self, window: Window) -> shapely.Geometry:
        """A window as a polygon in the raster's CRS; without one in pixels, rows from 0 down as in QGIS."""
        shape = _box(window)
        if self.source.info.georeference.crs is None:
            return shapely.transform(_stored(self.source, shape), lambda xy: xy * (1, -1))
        return moved(shape, self.source.georeference.transform)


def survey(job: MappingJob, options: SuggestOptions, folder: Path, progress: Progress | None = None) -> SurveyedImage:
    """Map a raster and keep what the model says in each box; the map, made in the folder, is deleted.

    Raises:
        AgrisegError: as `agriseg.mapping.run.run`, or as `SuggestOptions.side`.
        DataError: a file of `options.done` that cannot be read, or that lies in another CRS than the raster can.
    """
    source, roi = job.model_input.source, job.plan.roi
    side = options.side(source.georeference.gsd(source.width, source.height), job.info.path)
    grid = BoxGrid(roi, side)
    labelled = _covered(grid, source, options.done) | _learnt(grid, job)
    boxes = BoxSurvey(grid, len(job.model.legend), job.model.temperature)
    with tempfile.TemporaryDirectory(prefix=".agriseg-", dir=folder) as spare:
        outputs = Outputs(Path(spare), job.info.path.stem, with_probabilities=False, with_pictures=False)
        report = run(job, outputs, progress, Execution(observer=boxes.observe))
    warnings = tuple(dict.fromkeys((*job.warnings, *report.warnings)))
    return SurveyedImage(source, job.model.bands, grid, boxes.statistics(), labelled, warnings)


def candidates_of(images: Sequence[SurveyedImage]) -> Candidates:
    """The boxes of all images, one image after the other."""
    sizes = [len(each.statistics) for each in images]
    statistics = BoxStatistics.joined([each.statistics for each in images])
    cells = [np.stack(np.divmod(np.arange(len(each.statistics)), each.grid.shape[1]), axis=1) for each in images]
    labelled = np.concatenate([each.labelled for each in images])
    return Candidates(
        statistics, np.repeat(np.arange(len(images)), sizes), np.concatenate(cells), labelled, statistics.valid >= VALID
    )


def _covered(grid: BoxGrid, source: Source, files: Sequence[Path]) -> NDArray[np.bool_]:
    """(N,) bool: boxes of which at least `LABELLED` lies under the polygons of the files."""
    shapes = [shape for path in files for shape in _polygons(source.info, path)]
    if not shapes:
        return np.zeros(len(grid), bool)
    together = shapely.union_all(shapely.make_valid(shapes))
    shapely.prepare(together)
    outlines = np.array([_stored(source, _box(grid.window(number))) for number in range(len(grid))])
    touched = np.flatnonzero(shapely.intersects(outlines, together))
    covered = np.zeros(len(grid), bool)
    shared = shapely.area(shapely.intersection(outlines[touched], together))
    covered[touched] = shared >= LABELLED * shapely.area(outlines[touched])
    return covered


def _polygons(info: RasterInfo, path: Path) -> list[shapely.Geometry]:
    """Polygons of a file in pixels of an image: of the layer with the image's name, if there is one."""
    file, layer = layered(path)
    if layer is not None or not has_layer(file, info.path.stem):
        return area_in_pixels(info, path)
    own = Path(f"{file}:{info.path.stem}")
    return area_in_pixels(info, own) if count_features(file, info.path.stem) else []


def _learnt(grid: BoxGrid, job: MappingJob) -> NDArray[np.bool_]:
    """(N,) bool: boxes of which at least `LABELLED` is ground that the model was trained on."""
    ground = LearntImages.of_card(job.model.about).images
    if not ground:
        return np.zeros(len(grid), bool)
    plain = RunOptions(gsd="native", bands=job.options.bands, nodata=job.options.nodata)
    native = check_compatibility(job.info, job.model, plain).source
    digest = cache(partial(pixel_digest, native))
    learnt = []
    for number in range(len(grid)):
        left, top, right, bottom = shapely.bounds(_stored(job.model_input.source, _box(grid.window(number))))
        steps = (np.arange(_POINTS) + 0.5) / _POINTS
        rows, cols = np.meshgrid(top + steps * (bottom - top), left + steps * (right - left), indexing="ij")
        points = np.floor(rows.ravel()).astype(int), np.floor(cols.ravel()).astype(int)
        learnt.append(on_learnt_ground(ground, native, digest, *points).mean() >= LABELLED)
    return np.array(learnt, bool)


def _box(window: Window) -> shapely.Geometry:
    return shapely.box(window.col_off, window.row_off, window.col_stop, window.row_stop)


def _stored(source: Source, shape: shapely.Geometry) -> shapely.Geometry:
    """A shape on the grid of a source in pixels of the file."""
    scale = source.info.width / source.width, source.info.height / source.height
    return shapely.transform(shape, lambda xy: xy * scale)
