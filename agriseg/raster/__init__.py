"""The only code that opens raster files: header, validity, windows, resampling, geodesy, Cloud-Optimised GeoTIFFs.

Imports root modules.
"""
