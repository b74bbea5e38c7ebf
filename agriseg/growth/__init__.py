"""Clicks grown to the plants under them. Imports `vegetation`, `raster` and root modules."""
