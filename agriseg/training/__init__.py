"""From labels to a model: labels, chips, losses, the loop."""
