"""Weights files: Matterport's layout, Keras's, and what was loaded."""
