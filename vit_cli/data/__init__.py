"""Readers, sample order, decoding and batches."""
