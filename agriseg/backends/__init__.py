"""What runs a network: the protocol, a module for each runtime, and the choice among them.

Imports the model, `options` and what lies below them; never a raster.
"""
