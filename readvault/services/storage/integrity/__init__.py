"""Is every byte still there, and what to do when one isn't."""
