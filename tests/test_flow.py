"""How far a raster travels: frames above the network, and files that it enters, in one real `agriseg run`."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import rasterio
from conftest import blocks, write_raster
from torch.nn.modules.module import register_module_forward_pre_hook

import agriseg
from agriseg.cli import main
from agriseg.demo.reference_models import random_network

ROOT = Path(agriseg.__file__).parent
FRAMES = 9
FILES = 40


class Flow:
    """Watches a run: a profile function, and a hook of the network's layers.

    Args:
        image: the raster.
    """

    def __init__(self, image: Path) -> None:
        self._names = {str(image), image}
        self.stacks: list[list[str]] = []
        self.files: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> None:
        file = frame.f_code.co_filename
        if not file.startswith(str(ROOT)):
            return
        if (
            event == "return"
            and file.endswith(".py")
            and file not in self.files
            and any(map(self._is_raster, frame.f_locals.values()))
        ):
            self.files.add(file)

    def enter_network(self, *_: Any) -> None:
        """Called before each layer of the network runs."""
        self.stacks.append([name(above) for above in between(sys._getframe())])

    def _is_raster(self, value: Any, depth: int = 2) -> bool:
        if isinstance(value, str | Path):
            return value in self._names
        if isinstance(value, rasterio.DatasetReader):
            return value.name in self._names
        own = type(value).__module__.startswith("agriseg") and getattr(value, "__dict__", None)
        return bool(own and depth and any(self._is_raster(part, depth - 1) for part in own.values()))


def between(frame: FrameType) -> Iterator[FrameType]:
    """Frames of agriseg above one, up to that of the command."""
    above = frame.f_back
    while above is not None and above.f_code.co_name != "command":
        if above.f_code.co_filename.startswith(str(ROOT)) and "networks" not in above.f_code.co_filename:
            yield above
        above = above.f_back


def name(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_code.co_name}"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    folder = tmp_path_factory.mktemp("flow")
    image = write_raster(folder / "a.tif", blocks(200, 180))
    model = folder / "m.safetensors"
    random_network("fcn_small").save(model)
    seen = Flow(image)
    hook = register_module_forward_pre_hook(seen.enter_network)
    threading.setprofile(seen)
    sys.setprofile(seen)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["run", *map(str, (image, "-m", model, "-o", folder / "out")), "-q", "--tile", "64"])
    finally:
        hook.remove()
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    assert ended.value.code == 0
    return seen


def test_few_frames_lie_between_the_command_and_the_network(flow: Flow) -> None:
    deepest = max(flow.stacks, key=len)
    assert "inference/predict.py:run" in deepest, "a trial before the first tile calls the network too"
    assert len(deepest) <= FRAMES, deepest


def test_a_raster_enters_few_files(flow: Flow) -> None:
    """Distinct files of agriseg with a function that holds the raster, in any thread, when it returns.

    It holds its path, an open dataset of it, or an object of agriseg with one of these in its attributes or in theirs:
    header, source, reader, job.
    """
    assert len(flow.files) <= FILES, sorted(flow.files)
