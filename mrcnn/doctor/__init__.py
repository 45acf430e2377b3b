"""The dataset doctor: what is wrong with a data set, and what training does about it."""
