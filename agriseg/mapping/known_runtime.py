"""The runtime that an earlier run of a raster chose, so that a run that goes on does not measure again."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from agriseg.errors import DataError
from agriseg.inference.fastest_runtime import is_installed
from agriseg.json_text import from_json, json_line
from agriseg.mapping.outputs import Outputs
from agriseg.maps.record import RunRecord
from agriseg.maps.runtime_choice import RuntimeChoice
from agriseg.model import SegmentationModel
from agriseg.options.run import AUTO, RunOptions
from agriseg.storage.base import Storage

RUNTIME = "runtime"
"""Name of the choice in a checkpoint."""


def known_runtime(
    options: RunOptions, model: SegmentationModel, places: Sequence[Outputs], checkpoint: Storage
) -> RuntimeChoice | None:
    """The choice in a checkpoint, or else in the record of a map that the run made or replaces.

    None where no measurement is asked for, where there is none of this model, or where its runtime is gone.

    Raises:
        StorageError: the checkpoint cannot be read.
    """
    if options.backend != AUTO:
        return None
    choices = (_stored(checkpoint), *(_recorded(each) for each in places))
    known = (each for each in choices if each and each.model == model.fingerprint and is_installed(each.runtime))
    return next(known, None)


def store_runtime(choice: RuntimeChoice, checkpoint: Storage) -> None:
    """Put a choice into a checkpoint."""
    checkpoint.put(RUNTIME, json_line(asdict(choice)).encode())


def _stored(checkpoint: Storage) -> RuntimeChoice | None:
    damaged: tuple[type[BaseException], ...] = (*checkpoint.errors, ValueError, DataError)
    try:
        text = checkpoint.get(RUNTIME)
        return None if text is None else from_json(RuntimeChoice, json.loads(text), "the choice", "measure again")
    except damaged:  # by a kill, or it cannot be read: the run then opens no checkpoint there either, and begins anew
        return None


def _recorded(outputs: Outputs) -> RuntimeChoice | None:
    try:
        return RunRecord.read(outputs.record).runtime
    except DataError:  # there is none, or it is damaged, which whoever needs it finds
        return None
