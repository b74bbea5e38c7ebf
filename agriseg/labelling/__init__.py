"""Labelling in the browser: a raster, labels by clicks, and a map that learns from them at once.

Imports `suggest`, `mapping`, `labels`, `vectors`, `raster`, `networks` and root modules; training and the final map run
in processes of their own.
"""
