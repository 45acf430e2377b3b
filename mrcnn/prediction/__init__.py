"""Prediction on a user's own pictures: what is read, in which steps, and what is written of it."""
