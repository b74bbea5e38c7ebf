"""agriseg beside the fastest of its peers, with the bars that it should reach."""

from collections.abc import Sequence

from benchmarks.peers.results import Row


def bars(default: Row, exact: Row, peers: Sequence[Row], half: Sequence[Row]) -> str:
    """Markdown: how much faster, by the wall clock and by processor seconds; engines without figures do not count.

    Args:
        default, exact: of agriseg.
        peers: those that overlap tiles.
        half: those of them that overlap by half a tile.
    """
    lines = [
        *_faster("default", default, peers, 6.0, "at most a quarter of its labels unlike untiled"),
        *_faster("exact", exact, half, 2.5, "at most 0.001 % unlike untiled"),
    ]
    return "\n".join(lines)


def _faster(name: str, ours: Row, peers: Sequence[Row], bar: float, labels: str) -> list[str]:
    measured = [each for each in peers if not each.failed]
    if ours.failed or not measured:
        return []
    fastest = max(measured, key=lambda each: each.speed)
    return [
        f"- agriseg {name} is {ours.speed / fastest.speed:.2f} times as fast as {fastest.engine}, and takes "
        f"1 / {fastest.processor / ours.processor:.2f} of its processor seconds (bar {bar:g}); "
        f"{_percent(ours.unlike)} of its labels are unlike untiled, {_percent(fastest.unlike)} of the other's "
        f"(bar: {labels})"
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.3f} %"
