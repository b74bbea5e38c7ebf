"""`agriseg verify`."""

from pathlib import Path

import click

from agriseg.errors import DataError
from agriseg.json_text import json_line


@click.command("verify", short_help="Check finished maps against their records, and run some tiles again.")
@click.argument("out", metavar="FOLDER")
@click.option("--input", "image", metavar="FILE", help="The raster that was mapped, if it lies elsewhere now.")
@click.option("-m", "--model", metavar="FILE", help="The model that mapped it, if it lies elsewhere now.")
@click.option("--tiles", type=click.IntRange(0), default=4, metavar="N", help="Tiles to run again; 4 if not given.")
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Of their choice; another checks others.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: str, image: str | None, model: str | None, *, tiles: int, seed: int, as_json: bool) -> None:
    """Check finished maps: every file's hash, every block and overview, the account of pixels, and some tiles anew.

    Leaves with 65 if anything is not what the record says.

    \b
    Example:
      agriseg verify maps
      agriseg verify maps/field_run.json --input /mnt/field.tif --tiles 20
    """
    from agriseg.mapping.verify import VerifyResult, verify

    found: list[VerifyResult] = []
    places = Path(image) if image else None, Path(model) if model else None
    for finding in verify(Path(out), image=places[0], model=places[1], tiles=tiles, seed=seed):
        found.append(finding)
        if not as_json:
            click.echo(f"{'WRONG' if finding.wrong else 'ok':>6}  {finding.what}{_because(finding.wrong)}")
    wrong = [finding for finding in found if finding.wrong]
    if as_json:
        click.echo(json_line({"ok": not wrong, "findings": [vars(finding) for finding in found]}))
    if wrong:
        raise DataError(f"{wrong[0].what}: {wrong[0].wrong}; {len(wrong)} of {len(found)} checks failed, do not use it")


def _because(wrong: str | None) -> str:
    return f": {wrong}" if wrong else ""
