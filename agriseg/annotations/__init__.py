"""Shapes that annotation tools have drawn on pictures, in pixels of the picture.

Imports `raster.safe_open`, and the readers of JSON and XML of `vectors`.
"""
