"""A run's report: curves, pictures, the model card and one page with all of it."""
