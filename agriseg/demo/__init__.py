"""The demo, the self-test and their synthetic fields: maps whose truth is known.

Imports any room but `cli` and `batch`.
"""
