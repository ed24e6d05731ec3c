"""What a model learned, as pictures and numbers: filters, positions, attention, features."""
