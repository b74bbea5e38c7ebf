"""`agriseg verify`."""

from pathlib import Path

import click

from agriseg.errors import DataError
from agriseg.json_text import json_line


@click.command("verify", short_help="Check finished maps against their records, and run some tiles again.")
@click.argument("out", metavar="FOLDER")
@click.option("--input", "image", metavar="FILE", help="The raster that was mapped, if it was moved since.")
@click.option("-m", "--model", metavar="FILE", help="The model that mapped it, if it was moved since.")
@click.option(
    "--tiles", type=click.IntRange(0), default=4, metavar="N", help="Number of tiles to run again; default 4."
)
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Seed of the choice of tiles.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: str, image: str | None, model: str | None, *, tiles: int, seed: int, as_json: bool) -> None:
    """Check finished maps: hashes of files, blocks and overviews, pixel counts; some tiles are run again.

    Exits with 65 if anything differs from the record.

    \b
    Example:
      agriseg verify maps
      agriseg verify maps/field_run.json --input /mnt/field.tif --tiles 20
    """
    from agriseg.mapping.verify import VerifyResult, verify

    results: list[VerifyResult] = []
    raster, network = Path(image) if image else None, Path(model) if model else None
    for result in verify(Path(out), image=raster, model=network, tiles=tiles, seed=seed):
        results.append(result)
        if not as_json:
            reason = f": {result.wrong}" if result.wrong else ""
            click.echo(f"{'WRONG' if result.wrong else 'ok':>6}  {result.what}{reason}")
    wrong = [result for result in results if result.wrong]
    if as_json:
        click.echo(json_line({"ok": not wrong, "findings": [vars(result) for result in results]}))
    if wrong:
        count = f"{len(wrong)} of {len(results)} checks failed"
        raise DataError(f"{wrong[0].what}: {wrong[0].wrong}; {count}, do not use it")
