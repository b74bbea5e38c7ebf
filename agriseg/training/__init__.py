"""From labels to a model: configuration, data set, sampling, loop, model card.

Imports `evaluation`, `mapping`, `labels` and what lies below them; not `reports`.
"""
