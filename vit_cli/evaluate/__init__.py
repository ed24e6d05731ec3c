"""Evaluation of whole datasets, exact to the image."""
