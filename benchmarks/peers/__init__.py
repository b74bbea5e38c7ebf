"""agriseg beside its peers: the same raster, the same network, each in an environment and a process of its own."""
