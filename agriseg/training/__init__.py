"""From labels to a model: configuration, data set, loop, validation, model card.

Imports `evaluation`, `mapping`, `samples`, `labels` and what lies below them; not `reports`.
"""
