"""From tiles to classified rows: plan, device, prediction, Dask threads and worker processes.

Imports `storage`, `raster`, `networks`, the model and root modules.
"""
