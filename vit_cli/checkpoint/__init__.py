"""The only place that knows how checkpoints and models lie on disk: committed whole, verified, safe to load."""
