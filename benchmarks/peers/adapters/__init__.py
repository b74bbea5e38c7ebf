"""One module per engine: `prepare(task)` loads its network, and returns the function that maps the raster."""
