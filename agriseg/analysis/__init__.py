"""From a finished map to areas, shapes, grids, zones and scouting points.

Imports `maps`, `vectors`, `raster` and root modules.
"""
