"""Matterport's functions and layers, on this package's own."""
