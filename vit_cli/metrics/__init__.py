"""What a model scores: every metric is sums that add up over batches and processes, and one division at the end."""
