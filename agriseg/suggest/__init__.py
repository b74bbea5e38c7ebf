"""Where to label next: boxes of rasters, in the order in which their labels teach a model most.

Imports `mapping`, `labels`, `figures`, `vectors`, `raster` and root modules.
"""
