"""Studies: what changes of a recipe are worth, over folds and seeds, with an interval and a verdict."""
