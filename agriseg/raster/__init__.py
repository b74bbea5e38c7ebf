"""The only door to raster files."""
