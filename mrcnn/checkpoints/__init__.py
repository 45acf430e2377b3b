"""What a run leaves behind: folders, states, and what must be the same to continue."""
