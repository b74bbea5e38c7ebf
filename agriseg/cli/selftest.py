"""`agriseg selftest`."""

import tempfile
from pathlib import Path

import click


@click.command("selftest", short_help="Map rasters with known truth; exit 70 if a pixel differs.")
@click.option("-q", "--quiet", is_flag=True, help="Print only failures, and the number of checks.")
def command(*, quiet: bool) -> None:
    """Map rasters whose truth is known and compare every pixel; exits with 70 if any differs.

    \b
    Example:
      agriseg selftest
    """
    from agriseg.demo.selftest import run_selftest
    from agriseg.errors import PredictionError

    checks = []
    with tempfile.TemporaryDirectory(prefix="agriseg-selftest-") as folder:
        for check in run_selftest(Path(folder)):
            checks.append(check)
            if not (quiet and check.ok):
                click.echo(f"{'ok' if check.ok else 'FAIL':4}  {check.wrong:8} wrong pixels  {check.name}")
    failed = sum(not check.ok for check in checks)
    click.echo(f"{len(checks)} checks, {failed} failed")
    if failed:
        raise PredictionError(f"{failed} of {len(checks)} self-tests failed; do not trust maps of this installation")
