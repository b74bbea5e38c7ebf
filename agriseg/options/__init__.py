"""What a user can choose, as frozen dataclasses: for a map, its layers and its exports.

Imports root modules that hold pure values.
"""
