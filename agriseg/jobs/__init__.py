"""Jobs: one raster end to end, the demonstration, the self-test."""
