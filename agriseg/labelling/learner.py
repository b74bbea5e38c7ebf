"""The loop beside the page: labels train a head, which maps the screen; then come its score and the other ground."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import AgrisegError
from agriseg.grid import Window
from agriseg.growth.grown_clicks import ClickGrowth
from agriseg.inference.malloc import release_heap
from agriseg.labelling.encoder import Encoder
from agriseg.labelling.field import Field
from agriseg.labelling.head_map import HeadMap
from agriseg.labelling.held_back import HeldBackScore, score_held_back
from agriseg.labelling.label import Label
from agriseg.labelling.label_file import LabelFile
from agriseg.labelling.labelled_cells import CellReader, drawn_labels
from agriseg.labelling.pixel_head import CELL, LabelledCells, train_head

_STEPS = 20
"""How often the screen is told, while the raster is mapped, that there is more of it."""


@dataclass(frozen=True)
class ClassCount:
    """Labels of a class, and the pixels that they became."""

    labels: int
    pixels: int


@dataclass(frozen=True)
class Learnt:
    """What the loop has learnt.

    Args:
        version: of the labels that the head was trained on; 0 before the first.
        head: number of the state of the map; 0 without a map.
        needs: why there is no head; None if there is one.
        sure: mean confidence where the map is known; None without a map.
        known: share of the raster whose features are known.
        score: None until it is computed.
        remarks: on the labels.
    """

    version: int
    head: int
    needs: str | None
    counts: dict[str, ClassCount]
    sure: float | None
    known: float
    score: HeldBackScore | None
    remarks: tuple[str, ...]


class Learner:
    """A thread that works on what matters most: the labels first, then the screen, the score, and the rest.

    Args:
        growth: of clicks to plants; None where the raster has no bands of a vegetation index.
    """

    def __init__(
        self, field: Field, labels: LabelFile, encoder: Encoder, head_map: HeadMap, growth: ClickGrowth | None
    ) -> None:  # fmt: skip
        self._field, self._labels, self._encoder, self._map = field, labels, encoder, head_map
        self._growth, self._reader = growth, CellReader(field, encoder)
        self.paused = False
        """Whether the processor is for another process, so that only labels and the screen are worked on."""
        self._view = Window(0, 0, min(field.info.width, 2048), min(field.info.height, 2048))
        self._cells: LabelledCells | None = None
        self._told = 0
        self._lost: set[tuple[int, int]] = set()  # blocks that cannot be read
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._work = threading.Event()
        self.learnt = Learnt(0, 0, "label two classes or more", {}, None, 0.0, None, ())
        self.number = 0
        """Of the state; it grows with each change."""
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Stop working; returns when the step at hand is done."""
        self._stopped.set()
        self.wake()
        self._thread.join()

    def wake(self) -> None:
        """The labels have changed."""
        self._work.set()
        self.tell()

    def learn_anew(self) -> None:
        """The encoder has changed, so all is trained and mapped again."""
        self.learnt = replace(self.learnt, version=0)
        self.wake()

    def look_at(self, view: Window) -> None:
        """What is on the screen comes first."""
        self._view = view
        self._work.set()

    def tell(self) -> None:
        """Let the page know that something has changed."""
        with self._changed:
            self.number += 1
            self._changed.notify_all()

    def wait_for_change(self, seen: int, seconds: float) -> bool:
        """Wait until the state is not the one that was seen, at most so long; whether it is another."""
        with self._changed:
            return self._changed.wait_for(lambda: self.number != seen or self._stopped.is_set(), seconds)

    @property
    def training(self) -> bool:
        """Whether the labels are newer than the head."""
        return self.learnt.version != self._labels.version

    def _run(self) -> None:
        steps = self._steps()
        while not self._stopped.is_set():
            if not next(steps):
                self._work.wait()
                self._work.clear()

    def _steps(self) -> Iterator[bool]:
        """Each step does one piece of work; False if there is none."""
        while True:
            try:
                yield self._step()
            except AgrisegError as error:
                self._learn(version=self._labels.version, remarks=(str(error),))
                yield True

    def _step(self) -> bool:
        if self.training:
            self._train()
        elif block := self._due(self._field.blocks_of(self._view)[:_SCREEN]):
            self._map_block(block)
        elif self._cells is not None and self.learnt.score is None:
            self._score()
        elif not self.paused and not self._encoder.full and (block := self._due(self._elsewhere())):
            self._map_block(block)
        else:
            return False
        return True

    def _train(self) -> None:
        version, labels = self._labels.version, self._labels.labels
        names = self._labels.classes
        drawn = drawn_labels(self._field, labels, names, self._growth)
        cells = self._reader.cells(drawn, self._stopped.is_set)
        pixels = np.zeros(len(names), np.int64) if cells is None else np.bincount(cells.ids, minlength=len(names))
        counts = _counts(labels, names, pixels * CELL**2)
        enough = cells is not None and np.count_nonzero(pixels) >= 2
        self._cells = cells if enough else None
        if enough and cells is not None:
            with self._map.lock:
                head = train_head(cells, self._encoder.channels, len(names))
            self._map.use(head)
        elif self.learnt.head:
            self._map.use(None)
        self._told = 0
        release_heap()
        self._learn(
            version=version, head=self._map.revision if enough else 0, counts=counts, score=None, remarks=drawn.remarks,
            needs=None if enough else "label two classes or more",
        )  # fmt: skip

    def _score(self) -> None:
        if self._cells is not None:
            score = score_held_back(
                self._cells, self._encoder.channels, self._labels.classes, self._map.lock, lambda: self.training
            )
            if score is not None:
                self._learn(score=score)

    def _map_block(self, key: tuple[int, int]) -> None:
        """Compute the features of a block and map it; the page is told now and then."""
        try:
            with self._map.lock:
                self._encoder.features(*key)
            self._map.block(key)
        except AgrisegError as error:
            self._lost.add(key)
            self._learn(remarks=(*self.learnt.remarks, str(error)))
            return
        rows, cols = self._field.blocks
        known = len(self._encoder.known) / (rows * cols)
        mapped = sum(each.head == self._map.number for each in self._map.blocks.values()) * _STEPS // (rows * cols)
        if mapped != self._told and self.learnt.head:
            self._told = mapped
            self._map.repaint()
            self._learn(head=self._map.revision, known=known, sure=self._map.sure())
        else:
            self.learnt = replace(self.learnt, known=known)

    def _due(self, blocks: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
        """The first block whose features, or whose map by the newest head, are missing."""
        known, mapped = self._encoder.known, bool(self.learnt.head)
        left = (key for key in blocks if key not in self._lost)
        return next((key for key in left if key not in known or (mapped and not self._map.is_current(key))), None)

    def _elsewhere(self) -> list[tuple[int, int]]:
        """All blocks, those near the screen first."""
        rows, cols = self._field.blocks
        centre = self._field.blocks_of(self._view)
        row, col = centre[len(centre) // 2] if centre else (rows // 2, cols // 2)
        everything = chain.from_iterable(((r, c) for c in range(cols)) for r in range(rows))
        return sorted(everything, key=lambda key: (max(abs(key[0] - row), abs(key[1] - col)), key))

    def _learn(self, **values: object) -> None:
        self.learnt = replace(self.learnt, **values)  # type: ignore[arg-type]
        self.tell()


_SCREEN = 40
"""Blocks of the screen that come before the score; zoomed out, a screen holds thousands."""


def _counts(labels: Sequence[Label], classes: Sequence[str], pixels: NDArray[np.int64]) -> dict[str, ClassCount]:
    return {
        name: ClassCount(sum(each.class_name == name for each in labels), int(pixels[k]))
        for k, name in enumerate(classes)
    }
