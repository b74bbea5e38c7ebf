"""Training samples: chips around labelled pixels, drawn with more of the rare classes, and augmented.

Imports `labels` and `model` and what lies below them.
"""
