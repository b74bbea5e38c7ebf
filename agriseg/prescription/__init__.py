"""From a finished map to a rate for each cell of a field, what it misses, and a sheet for the driver."""
