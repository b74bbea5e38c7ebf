"""What is made of one raster: the options of its map, layers, exports and publication."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agriseg.errors import UsageError
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions
from agriseg.options.run import RunOptions
from agriseg.options.table import flags_of, nearest
from agriseg.options.verdict import PublishPolicy

REQUEST_TABLES = (RunOptions, LayerOptions, ExportOptions, PublishPolicy)
"""The classes whose flags make a `MappingRequest`."""


@dataclass(frozen=True)
class MappingRequest:
    """The request of `agriseg run`, `agriseg batch` and `segment`.

    Args:
        layers: the layers to make from the map; None for none.
        exports: the report and the files for other programs; None for none.
    """

    run: RunOptions = field(default_factory=RunOptions)
    layers: LayerOptions | None = None
    exports: ExportOptions | None = None
    policy: PublishPolicy = field(default_factory=PublishPolicy)

    @classmethod
    def of(cls, *, layers: bool = False, **flags: Any) -> "MappingRequest":
        """A request from flags as users write them; there are exports if one of their flags is given.

        Raises:
            UsageError: a flag is unknown or cannot be parsed, or is one of the layers' without `layers`.
        """
        tables = {name: table for table in REQUEST_TABLES for name in flags_of(table)}
        for name in flags:
            if name not in tables:
                raise UsageError(f"unknown option {name!r}; {nearest(name, tables)}")
        run, layer, exports, policy = (
            {name: value for name, value in flags.items() if tables[name] is table and value is not None}
            for table in REQUEST_TABLES
        )
        return cls(
            RunOptions.of(**run), requested_layers(layer, layers=layers),
            ExportOptions.of(**exports) if exports else None, PublishPolicy.of(**policy),
        )  # fmt: skip

    def with_report(self) -> "MappingRequest":
        """The same request with exports, which contain the report in any case."""
        return self if self.exports else replace(self, exports=ExportOptions())

    def with_quarantine(self, folder: Path) -> "MappingRequest":
        """The same request with a folder for maps that may not be published."""
        return replace(self, policy=replace(self.policy, quarantine=folder))


def requested_layers(flags: Mapping[str, Any], *, layers: bool) -> LayerOptions | None:
    """The layers to make; None for none.

    Raises:
        UsageError: there are flags of layers, but no layers are wanted.
    """
    if layers:
        return LayerOptions.of(**flags)
    if flags:
        name = next(iter(flags))
        flag = next(iter(flags_of(LayerOptions)[name].names), f"--{name.replace('_', '-')}")
        raise UsageError(f"{flag} without --layers; add it to make the layers")
    return None
