"""Readers of annotation formats: shapes in pixels of their image.

Imports `raster.safe_open`, and the readers of JSON and XML of `vectors`.
"""
