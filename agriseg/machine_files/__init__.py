"""Prescriptions as files for machines: written in the form of each profile, and read back by another path."""
