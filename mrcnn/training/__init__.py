"""One training run: the compiled step, its callbacks, its stages and its watchmen."""
