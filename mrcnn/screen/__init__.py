"""What is shown in a terminal, and in its place in a pipe; see `docs/architecture.md`."""
