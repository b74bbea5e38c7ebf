"""Pictures (PNG): quick looks, panels, charts of a training.

Imports `raster` and root modules.
"""
