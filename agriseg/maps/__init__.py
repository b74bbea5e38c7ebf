"""Finished maps on disk: names of their files, records, publishing, reading.

Imports `vegetation`, `vectors`, `raster` and root modules.
"""
