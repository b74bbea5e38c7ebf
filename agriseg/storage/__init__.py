"""Bytes by name while a run lasts, in a folder or a bucket; and inputs downloaded from an address.

Imports `raster` and root modules.
"""
