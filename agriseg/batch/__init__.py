"""Many rasters, each in a worker process: queue, dispatcher, state database, summary.

Imports any room but `cli`.
"""
