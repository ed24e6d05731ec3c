"""Trackers: where else a run writes its losses and scores, if its recipe asks for it."""
