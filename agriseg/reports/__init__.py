"""HTML pages of finished maps.

Imports `analysis`, `change`, `figures`, `maps` and what lies below them.
"""
