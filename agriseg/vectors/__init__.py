"""Fields, plots and labels in; polygons and points out."""
