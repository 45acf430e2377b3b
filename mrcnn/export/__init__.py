"""A trained network as a file that other programs run, without this package."""
