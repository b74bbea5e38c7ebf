"""Finished maps for other programs: the report, STAC, zarr.

Imports `reports`, `maps` and what lies below them.
"""
