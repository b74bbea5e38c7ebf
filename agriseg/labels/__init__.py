"""Labels in any format on the grids of their images, and how ground is split into blocks.

Imports `annotations`, `vectors`, `raster` and root modules.
"""
