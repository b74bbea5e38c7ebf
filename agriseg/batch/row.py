"""The row of a raster in the summary of a batch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pydantic import TypeAdapter

from agriseg.maps.record import PixelTotals
from agriseg.maps.verdict import Verdict

Status = Literal["begun", "waiting", "deferred", "failed", "done", "gone"]


@dataclass(frozen=True)
class MapFacts:
    """What a worker reports of a finished map.

    Args:
        record: SHA-256 of the run's record.
        sha256: of the raster.
        identity: digest of the content of the raster and the files beside it.
        pixels: totals of the map.
        tiles_run: tiles that went through the network.
        hectares: by class; None where the ground is unknown.
        share: of the predicted pixels, by class.
        seconds: that mapping took.
        warnings: of the map and its layers.
        verdict: on the map.
        files: of the map, its layers and exports, relative to the folder of the outputs; the run's record last.
        report: page of the map, relative to the folder of the outputs.
        thumbnail: of the map, a data URI.
    """

    record: str
    sha256: str
    identity: str
    pixels: PixelTotals
    tiles_run: int
    hectares: Mapping[str, float | None]
    share: Mapping[str, float]
    seconds: float
    warnings: tuple[str, ...]
    verdict: Verdict
    files: tuple[str, ...]
    report: str
    thumbnail: str


@dataclass(frozen=True)
class BatchRow:
    """What is known of one raster.

    Args:
        name: of the raster: title of the job and path below its folder.
        status: begun: given to a worker; waiting: not yet; deferred: the file was still growing; gone: the raster was
            deleted after it was mapped.
        field, date: from the path; None if it has none.
        code: exit code of a raster that failed, or 0.
        reason: of the status, one sentence.
        tries: number of workers that have had the raster.
        seconds: that it took; None if no worker has had it.
        map: None without.
        unchanged: whether an earlier batch has settled the raster.
        own: whether the files with the raster's output names are of this batch or an earlier one.
        image: absolute path of the raster.
    """

    name: str
    status: Status
    field: str | None = None
    date: str | None = None
    code: int = 0
    reason: str = ""
    tries: int = 1
    seconds: float | None = None
    map: MapFacts | None = None
    unchanged: bool = False
    own: bool = False
    image: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values, those of the map among its own."""
        if self.status == "waiting":
            return {"name": self.name, "status": self.status}
        values = {key: value for key, value in vars(self).items() if key != "map"}
        optional = {key: values.pop(key) for key in ("seconds", "unchanged", "own", "image")}
        return (
            values | {key: value for key, value in optional.items() if value} | (asdict(self.map) if self.map else {})
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "BatchRow":
        """The row of which `as_json` gave these values."""
        facts = TypeAdapter(MapFacts).validate_python(_of(MapFacts, values)) if "thumbnail" in values else None
        return cls(**_of(cls, values), map=facts)


def _of(table: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those values that are fields of a dataclass."""
    return {each.name: values[each.name] for each in fields(table) if each.name in values}
