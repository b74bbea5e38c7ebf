"""Bar: `agriseg --help` in under 0.15 s of CPU time."""

import argparse
import resource
import statistics
import subprocess
import sys

from common import machine


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "agriseg --help": [sys.executable, "-m", "agriseg", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            seconds[name].append(cpu_seconds(command))
    print(machine())
    for name, spent in seconds.items():
        print(f"{name}: median {statistics.median(spent):.3f} s, {min(spent):.3f} to {max(spent):.3f}; bar 0.15")


if __name__ == "__main__":
    main()
