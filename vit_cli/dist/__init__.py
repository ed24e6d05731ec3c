"""The only place that knows that other processes exist."""
