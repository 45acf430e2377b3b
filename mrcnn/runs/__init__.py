"""A run as a whole: its settings, its start weights, its results."""
