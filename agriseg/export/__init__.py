"""Finished maps for other programs: STAC, zarr, styles for GeoServer.

Imports `reports`, `maps` and what lies below them.
"""
