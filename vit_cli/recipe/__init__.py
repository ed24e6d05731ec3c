"""The recipe: its schema, reading and changing it, saying what is wrong with it, and the plan made from it."""
