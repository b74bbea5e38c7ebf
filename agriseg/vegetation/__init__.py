"""Vegetation indices: formulas, cameras, reflectance, rows of an index.

Imports `raster` and root modules; writes nothing.
"""
