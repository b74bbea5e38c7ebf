"""Machine files read back from their specifications alone; nothing is shared with the writers."""
