"""Benchmarks. Each script is a command of its own; README.md lists them."""
