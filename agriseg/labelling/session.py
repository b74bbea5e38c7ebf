"""One labelling of one raster: its parts, put together."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agriseg import files
from agriseg.errors import ModelError
from agriseg.figures.quicklook import shown_roles
from agriseg.grid import Window
from agriseg.growth.grown_clicks import ClickGrowth, can_grow, ground_of
from agriseg.inference.malloc import share_heap
from agriseg.labelling.encoder import Encoder
from agriseg.labelling.field import Field, Statistics, sample_windows
from agriseg.labelling.head_map import HeadMap
from agriseg.labelling.image_tiles import ImageTiles
from agriseg.labelling.job import JobKind, Jobs, Task
from agriseg.labelling.label import Change
from agriseg.labelling.label_file import LabelFile
from agriseg.labelling.labelled_cells import REACH
from agriseg.labelling.learner import Learner
from agriseg.labelling.next_place import Place, next_place
from agriseg.legend import Legend
from agriseg.mapping.compatibility import check_compatibility
from agriseg.model import SegmentationModel, load_model
from agriseg.networks import PackagedWeights, architecture
from agriseg.networks.normalization import Normalization
from agriseg.networks.pretrained import load_pretrained, packaged_weights, read_torchvision_state
from agriseg.networks.unet import UNet
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo

ARCHITECTURE = "unet_lite0"
"""Network of the models that are made; its encoder gives the features."""
RGB = ("red", "green", "blue")
_FEATURES = ".features-"  # folder of features while a labelling goes on


@dataclass(frozen=True)
class LabellingRequest:
    """What is labelled.

    Args:
        folder: of the labels, the models and the map.
        model: that the encoder and the trainings start from; None for ImageNet's weights.
        reading: band numbers and nodata of the raster.
    """

    image: Path
    classes: tuple[str, ...]
    folder: Path
    model: Path | None
    reading: RunOptions


class Session:
    """A labelling that goes on; made by `open_session`."""

    def __init__(
        self, request: LabellingRequest, field: Field, labels: LabelFile, encoder: Encoder, tiles: ImageTiles
    ) -> None:
        self.request, self.field, self.labels, self.tiles = request, field, labels, tiles
        self.legend = Legend.from_names(list(request.classes))
        self.map = HeadMap(field, encoder, self.legend)
        self.learner = Learner(field, labels, encoder, self.map, _growth(field))
        self.jobs = Jobs(self._told)
        self._encoder = encoder
        self._improved: Path | None = None

    def change(self, change: Change) -> int:
        """Save a change of the labels, and learn from it; returns the new version. Errors as `LabelFile.apply`."""
        version = self.labels.apply(change)
        self.learner.wake()
        return version

    def next_place(self, view: Window) -> Place | None:
        """The place to label next; None without a map."""
        if not self.learner.learnt.head:
            return None
        return next_place(self.field, self.map.blocks, self.labels.labels, self.legend, view)

    def start_job(self, kind: JobKind, minutes: float) -> None:
        """Start *Improve* or *Finish*; BusyError if a job runs."""
        task = self._task(self._improved or self.request.model)
        if kind == "improve":
            self.jobs.start(kind, lambda: task.improve(minutes), lambda: self._take(task))
        else:
            self.jobs.start(kind, lambda: task.finish(minutes), task.keep_model)

    @property
    def report(self) -> Path:
        """The report of *Finish*, which may not exist yet."""
        return self._task(None).report

    def _task(self, start: Path | None) -> Task:
        request = self.request
        areas = any(label.kind == "area" for label in self.labels.labels)
        return Task(
            request.image, self.labels.path, request.classes, request.folder, areas, start, request.reading.nodata
        )

    def _take(self, task: Task) -> None:
        """Go on with the encoder of the improved model."""
        self._improved = task.kept_improved()
        model = load_model(self._improved)
        self.map.use(None)  # the head is for the features of the former encoder
        self._encoder.use(_decoder(model).backbone, model.normalization)
        self.learner.learn_anew()

    def _told(self) -> None:
        self.learner.paused = self.jobs.running
        self.learner.tell()


@contextmanager
def open_session(request: LabellingRequest) -> Iterator[Session]:
    """Open the raster and the labels, and start to learn; all ends with the block.

    Raises:
        AgrisegError: the raster, the labels or the model cannot be used; or another process labels in the folder.
    """
    info = RasterInfo.read(request.image)
    Legend.from_names(list(request.classes))
    model = _start(request)
    source = check_compatibility(info, model, request.reading).source
    share_heap()  # threads of requests come and go, and each would keep what it frees
    with ExitStack() as stack:
        files.make_folder(request.folder)
        stack.enter_context(files.locked(request.folder / ".agriseg.lock"))
        statistics = Statistics.of(source)
        red, green, blue = shown_roles(model.bands)
        field = Field(source, model.bands, (red, green, blue), statistics)
        labels = LabelFile(request.folder / "labels.gpkg", info, request.classes)
        stack.callback(labels.close)
        files.remove(request.folder.glob(f"{_FEATURES}*"))  # of a process that was killed
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_FEATURES, dir=request.folder)))
        network = _decoder(model)
        encoder = Encoder(field, network.backbone, _normalization(model, request, statistics), kept)
        stack.callback(encoder.close)
        tiles = ImageTiles(field)
        stack.callback(tiles.close)
        session = Session(request, field, labels, encoder, tiles)
        session.learner.start()
        stack.callback(session.learner.stop)
        stack.callback(session.jobs.stop)
        yield session


def _growth(field: Field) -> ClickGrowth | None:
    """Of clicks to plants, on the ground's level in a sample of the raster; None without a vegetation index."""
    if not can_grow(field.info):
        return None
    return ClickGrowth(field.info, REACH, ground_of(field.info, sample_windows(field.info.width, field.info.height)))


def _start(request: LabellingRequest) -> SegmentationModel:
    """The model whose encoder gives the features."""
    if request.model is not None:
        return load_model(request.model)
    design = architecture(ARCHITECTURE)
    network = design.build(len(RGB), len(request.classes))
    packaged = design.pretrained["imagenet"]
    if not isinstance(packaged, PackagedWeights):
        raise ModelError(f"{ARCHITECTURE} has no weights in a package; name a model with -m")
    weights = read_torchvision_state(packaged_weights(packaged))
    load_pretrained(network, design, weights, RGB, keep_heads=False)
    return SegmentationModel(
        network, Legend.from_names(list(request.classes)), RGB, stride=design.stride, align=design.align,
        halo=design.halo, name="ImageNet", architecture=ARCHITECTURE,
    )  # fmt: skip


def _decoder(model: SegmentationModel) -> UNet:
    if model.architecture != ARCHITECTURE or not isinstance(model.network, UNet):
        raise ModelError(
            f"model {model.name!r} is a {model.architecture}, expected {ARCHITECTURE}, whose encoder gives the "
            "features; leave -m out, or train one"
        )
    return model.network.eval()


def _normalization(model: SegmentationModel, request: LabellingRequest, statistics: Statistics) -> Normalization:
    """That of the model; of the raster's own numbers where there is none."""
    if request.model is not None:
        return model.normalization
    return Normalization(1.0, tuple(statistics.mean.tolist()), tuple(np.asarray(statistics.std).tolist()))
