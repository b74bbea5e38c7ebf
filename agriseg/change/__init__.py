"""Two finished maps of one field: the shift between their images, and what has changed.

Imports `maps`, `raster` and root modules.
"""
