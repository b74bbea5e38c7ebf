"""`python -m agriseg` is `agriseg`."""

from agriseg.cli import main

main()
