"""Weights of other libraries: one file per naming, each a table between their names and ours."""
