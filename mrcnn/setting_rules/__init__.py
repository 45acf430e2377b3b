"""What every setting of `Config` may be, by itself and beside the others. Free of Keras."""
