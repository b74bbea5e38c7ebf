"""From tiles to classified rows: plan, prediction, Dask threads and worker processes.

Imports `storage`, `raster`, `backends`, `networks`, the model and root modules.
"""
