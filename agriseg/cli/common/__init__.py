"""Options, messages, progress and signals that several commands share.

Imports any room.
"""
