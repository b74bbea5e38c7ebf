"""Vector files: features in; features and their styles out.

Imports `raster` and root modules.
"""
