"""Pure functions on tensors (and, for anchors, NumPy): the mathematics of the network."""
