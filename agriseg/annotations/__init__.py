"""Shapes drawn on pictures by tools for annotation, in pixels of the picture."""
