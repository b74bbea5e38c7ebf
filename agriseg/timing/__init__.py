"""Wall-clock time of the stages of a run."""
