"""Labels in any format on the grids of their images, and the split of an image into blocks.

Imports `annotations`, `vectors`, `raster` and root modules.
"""
