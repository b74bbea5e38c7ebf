"""Commands from labels to a model and its scores."""
