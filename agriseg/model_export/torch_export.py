"""A model as a program of torch.export (.pt2), for torch without agriseg, and for its compilers."""

from pathlib import Path

import numpy as np
import torch

from agriseg.backends.onnx_graph import MapNetwork, example
from agriseg.errors import ModelError
from agriseg.model import SegmentationModel
from agriseg.model_export.parity import Images, Runner
from agriseg.networks.onnx_file import METADATA

_LARGEST = 2**20  # px a side
_LARGEST_BATCH = 1024


def write_program(model: SegmentationModel, path: Path, tile: int | None) -> Runner:
    """Write a program from images to logits and probabilities, with the metadata of the model beside it.

    Raises:
        ModelError: torch cannot export the network.
    """
    image = example(model) if tile is None else torch.zeros(1, len(model.bands), tile, tile)
    sizes = {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}
    if tile is None:
        most = _LARGEST // model.step
        sizes |= {2 + axis: model.step * torch.export.Dim(name, min=2, max=most) for axis, name in enumerate("hw")}
    pair = torch.cat([image, image])  # a batch of one would be taken for a constant
    try:
        program = torch.export.export(MapNetwork(model), (pair,), dynamic_shapes=(sizes,))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"model {model.name!r}: torch.export does not take its network: {first}") from error
    torch.export.save(program, path, extra_files={METADATA: model.metadata_text})
    network = program.module()

    def run(images: Images) -> Images:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(images))[1])

    return run
