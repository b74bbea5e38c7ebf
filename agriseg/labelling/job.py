"""*Improve* and *Finish*: commands of agriseg in a process of their own, and how far they are."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from agriseg import files
from agriseg.errors import AgrisegError, BusyError
from agriseg.json_text import json_line
from agriseg.labelling.label_file import AREAS, LABELS
from agriseg.labelling.labelled_cells import GROW
from agriseg.training.quickstart import FEW_LABEL_BLOCKS, few_label_recipe

JobKind = Literal["improve", "finish"]
_PERCENT = re.compile(r"(\d{1,3})%")
_ERROR = re.compile(r"^agriseg: error: ")
_START_S = 6.0  # until a process counts its minutes: it loads torch
_END_S = 10.0  # in which a stopped process ends by itself


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Args:
        progress: share of its present stage, 0 to 1; None while it is unknown.
        text: its last line, or the error.
    """

    kind: JobKind
    state: Literal["running", "done", "failed", "stopped"]
    progress: float | None
    text: str


@dataclass(frozen=True)
class Task:
    """What jobs are made of.

    Args:
        folder: of the models and of the map.
        areas: whether the label file holds areas.
        start: model that a training starts from; None for ImageNet's weights.
        nodata: value of the raster, beside the declared one.
    """

    image: Path
    labels: Path
    classes: Sequence[str]
    folder: Path
    areas: bool
    start: Path | None
    nodata: float | None

    @property
    def improved(self) -> Path:
        """Folder of the model of *Improve*."""
        return self.folder / "improved"

    @property
    def result(self) -> Path:
        """Folder of the map of *Finish*."""
        return self.folder / "result"

    @property
    def report(self) -> Path:
        """The report of *Finish*."""
        return self.result / f"{self.image.stem}_report.html"

    @property
    def model(self) -> Path:
        """The model of *Finish*."""
        return self.folder / "model.safetensors"

    def improve(self, minutes: float) -> list[str]:
        """Arguments of the training, whose configuration is written."""
        shutil.rmtree(self.improved, ignore_errors=True)
        data = {"images": f"{self.image.resolve()}", "labels": f"{self.labels.resolve()}:{LABELS}"}
        area = {"area": f"{self.labels.resolve()}:{AREAS}"} if self.areas else {}
        nodata = {} if self.nodata is None else {"nodata": self.nodata}
        tables: dict[str, dict[str, object]] = {
            "data": {**data, "column": "class", "grow": GROW, **area, **nodata},
            "recipe": few_label_recipe(minutes).model_dump(exclude_defaults=True),
            "validation": FEW_LABEL_BLOCKS.model_dump(exclude_defaults=True),
        }  # fmt: skip
        start = {"init": str(self.start.resolve())} if self.start else {}
        lines = [*_toml({"classes": list(self.classes), **start})]
        lines += [line for name, table in tables.items() for line in (f"[{name}]", *_toml(table))]
        path = self.folder / "improve.toml"
        files.write_text(path, "\n".join(lines) + "\n")
        return ["train", str(path), "-o", str(self.improved)]

    def kept_improved(self) -> Path:
        """The model of *Improve* under a name of its own: the next training replaces its folder."""
        kept = self.folder / "improved.safetensors"
        with files.draft_of(kept) as draft:
            shutil.copyfile(self.improved / "best.safetensors", draft)
        return kept

    def finish(self, minutes: float) -> list[str]:
        """Arguments of `agriseg quickstart`."""
        area = ["--area", f"{self.labels}:{AREAS}"] if self.areas else []
        start = ["--init", str(self.start)] if self.start else []
        nodata = [] if self.nodata is None else [f"--nodata={self.nodata}"]
        return [
            "quickstart", str(self.image), f"{self.labels}:{LABELS}", "--classes", ",".join(self.classes), *area,
            *start, *nodata, "--time", f"{60 * minutes - _START_S:g}s", "-o", str(self.result), "--overwrite",
        ]  # fmt: skip

    def keep_model(self) -> None:
        """Copy the model of *Finish*, and its card, beside the labels."""
        best = self.result / f"{self.image.stem}_model" / "best.safetensors"
        for suffix in (".safetensors", ".md"):
            with files.draft_of(self.model.with_suffix(suffix)) as draft:
                shutil.copyfile(best.with_suffix(suffix), draft)


def _toml(values: dict[str, object]) -> list[str]:
    """Lines of a table of numbers, texts and lists: JSON writes these as TOML does."""
    return [f"{name} = {json_line(value)}" for name, value in values.items()]


class Jobs:
    """Runs one job at a time; `told` is called when its state changes."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self.state: JobState | None = None

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self.state is not None and self.state.state == "running"

    def start(self, kind: JobKind, prepare: Callable[[], Sequence[str]], then: Callable[[], None]) -> None:
        """Start a command of agriseg with the arguments that `prepare` gives; `then` is called after a good end.

        Raises:
            BusyError: another job runs.
        """
        with self._lock:
            if self.running:
                raise BusyError("a job runs already; stop it, or wait for it")
            arguments = prepare()
            self.state = JobState(kind, "running", None, "")
            self._process = subprocess.Popen(  # noqa: S603  (this program, with arguments that are no shell text)
                [sys.executable, "-m", "agriseg", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
            self._thread = threading.Thread(target=self._follow, args=(self._process, then), daemon=True)
            self._thread.start()
        self._told()

    def stop(self) -> None:
        """End the job, if one runs; returns when it has ended."""
        with self._lock:
            if not self.running or self._process is None or self._thread is None:
                return
            self._set(replace(self.state, state="stopped") if self.state else None)
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join()

    def _follow(self, process: "subprocess.Popen[str]", then: Callable[[], None]) -> None:
        """Read what the process says until it ends."""
        for line in process.stderr or ():
            found = _PERCENT.search(line)
            if self.running and self.state:
                text = _ERROR.sub("", line.strip())
                self._set(
                    replace(self.state, progress=int(found[1]) / 100 if found else self.state.progress, text=text)
                )
        failed = process.wait() != 0
        if self.running and self.state:
            try:
                if not failed:
                    then()
            except (AgrisegError, OSError) as error:  # what came out of it cannot be used, or not be copied
                failed, self.state = True, replace(self.state, text=str(error))
            self._set(replace(self.state, state="failed" if failed else "done"))

    def _set(self, state: JobState | None) -> None:
        self.state = state
        self._told()
