"""One raster end to end: the map, its layers and its exports."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agriseg.analysis.build import make_layers
from agriseg.export.exports import check_exports, write_exports
from agriseg.mapping.known_runtime import known_runtime
from agriseg.mapping.outputs import QUARANTINE, Outputs, default_folder
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Execution, RunReport, run
from agriseg.maps.publish import PublishedFiles
from agriseg.model import SegmentationModel, load_model
from agriseg.options.request import MappingRequest


def segment(
    image: Path | str,
    model: SegmentationModel | Path | str,
    out: Path | str | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **flags: Any,
) -> RunReport:
    """Map a raster, and make the layers and exports that are asked for.

    Args:
        model: a model or its file.
        out: folder of the outputs; `<stem>_agriseg` in the current one if None.
        progress: called with tiles done and tiles in all.
        flags: of `agriseg run`, as values or as users write them; see `MappingRequest.of`.

    Returns:
        The outputs' paths and what they hold. They exist only when they are complete and verified.

    Raises:
        AgrisegError: its children say what went wrong; nothing is left half-written.
    """
    request, image = MappingRequest.of(**flags), Path(image)
    folder = default_folder(image) if out is None else Path(out)
    outputs = Outputs(folder, image.stem, request.run.probabilities, overwrite)
    request = checked(request, image, outputs)
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    execution, overwrite = Execution(more_follows=True), overwrite or outputs.incomplete
    known = known_runtime(request.run, model, outputs.places(request.policy), execution.place(outputs))
    report = run(prepare(image, model, request.run, known), outputs, progress, execution, policy=request.policy)
    return with_derived_files(report, request, outputs, overwrite=overwrite)


def checked(request: MappingRequest, image: Path, outputs: Outputs) -> MappingRequest:
    """The request with the folder for maps that may not be published, if there can be such maps.

    Raises:
        UsageError, InputMissing, OutputError: the request cannot be carried out, or would overwrite something.
    """
    if request.exports:
        check_exports(request.exports)
    if request.policy.fail_on:
        request = request.with_quarantine(outputs.folder / QUARANTINE)
    free = replace(outputs, overwrite=outputs.overwrite or outputs.incomplete)
    for place in free.places(request.policy):
        place.check(image)
    return request


def derived_files(
    record: Path, request: MappingRequest, *, overwrite: bool
) -> tuple[PublishedFiles | None, tuple[Path, ...]]:
    """Make the layers of a finished map, then its exports.

    Args:
        overwrite: replace layers that exist; exports of the same map are always replaced.

    Returns:
        The layers, None without; the exports, the report first.

    Raises:
        AgrisegError: its children say what went wrong; the map stays.
    """
    layers = make_layers(record, request.layers, overwrite=overwrite) if request.layers else None
    return layers, tuple(write_exports(record, request.exports)) if request.exports else ()


def with_derived_files(report: RunReport, request: MappingRequest, outputs: Outputs, *, overwrite: bool) -> RunReport:
    """The report of a run, with its layers and exports, which are made here: the outputs are complete then."""
    layers, exports = derived_files(report.record, request, overwrite=overwrite)
    outputs.complete()
    return replace(report, layers=layers, exports=exports)
