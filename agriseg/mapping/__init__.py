"""One raster end to end: prepare, predict with resume, write, record, judge, verify.

Imports `inference`, `maps` and what lies below them.
"""
