"""`agriseg change`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import end_on_signals, resume_hint, warn
from agriseg.json_text import json_line

if TYPE_CHECKING:
    from agriseg.maps.publish import PublishedFiles

_MAX_SHIFT = "Longest shift that is corrected; default 3 m or 30 px, whichever is more."
_MOVED = "Image of the {} map, if it was moved since."


@click.command("change", short_help="Changes between two finished maps of one field.")
@click.argument("earlier", metavar="EARLIER")
@click.argument("later", metavar="LATER")
@click.option("-o", "--out", metavar="FOLDER", required=True, help="Folder of the layer and the tables.")
@click.option("--max-shift", metavar="LENGTH", help=_MAX_SHIFT)
@click.option("--no-align", is_flag=True, help="Measure the shift between the images, but do not correct it.")
@click.option("--earlier-image", metavar="FILE", help=_MOVED.format("earlier"))
@click.option("--later-image", metavar="FILE", help=_MOVED.format("later"))
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No warnings.")
def command(
    earlier: str, later: str, out: str, *, max_shift: str | None, no_align: bool, earlier_image: str | None,
    later_image: str | None, overwrite: bool, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compare two finished maps, each a folder that 'agriseg run' wrote, or a record (*_run.json) in one.

    The shift between the two images is measured and corrected; the later map is resampled to the grid of the earlier
    one. Writes a layer of transitions, a table and a record, named after the later map.

    \b
    Example:
      agriseg change maps_may maps_june -o change
      agriseg change may/north_run.json june/north_run.json -o change --max-shift 5m
    """
    end_on_signals()
    from agriseg import units
    from agriseg.change.compare import ChangeOptions, make_change

    with resume_hint(Path(out), "run the same command again"):
        made = make_change(
            Path(earlier), Path(later), Path(out),
            ChangeOptions(
                Path(earlier_image) if earlier_image else None, Path(later_image) if later_image else None,
                None if max_shift is None else units.metres(max_shift), align=not no_align,
            ),
            overwrite=overwrite,
        )  # fmt: skip
    for text in [] if quiet else made.warnings:
        warn(text)
    click.echo(json_line(made.as_dict()) if as_json else _shown(made))


def _shown(made: "PublishedFiles") -> str:
    """The shift, hectares of each class at both dates, the unchanged share, and the files."""
    names = ("earlier", "later", "gain", "loss", "net")
    lines = [f"  {_shift(made.facts['shift'])}", f"  {'hectares of':20}" + "".join(f"{name:>14}" for name in names)]
    for row in made.facts["classes"]:
        values = [row[f"{name}_ha"] for name in names]
        texts = ["unknown" if value is None else f"{value:,.4f}" for value in values]
        lines.append(f"  {row['class']:20}" + "".join(f"{text:>14}" for text in texts))
    lines.append(f"  unchanged: {made.facts['unchanged_share']:.2%} of the pixels with data at both dates")
    return "\n".join([*lines, *(str(path) for path in made.files)])


def _shift(shift: dict[str, Any] | None) -> str:
    """The position of the later image relative to the earlier one."""
    if shift is None:
        return "the shift between the images is unknown and not corrected"
    east, north = shift["metres_east"], shift["metres_north"]
    ground = "" if east is None else f" ({abs(east):.3f} m {'east' if east >= 0 else 'west'}, "
    ground += "" if north is None else f"{abs(north):.3f} m {'north' if north >= 0 else 'south'})"
    done = "corrected" if shift["taken_out"] else "not corrected"
    return f"the later image lies {shift['cols']:.2f} px right, {shift['rows']:.2f} px down{ground}; {done}"
