"""A model or a map against labels: scores and calibration.

Imports `mapping`, `labels`, `analysis.area_interval` and what lies below them.
"""
