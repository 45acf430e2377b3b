"""What `benchmarks.third_party` is made of: the list of projects, their data, and their runs."""
