"""The verdict on a sample, and what people and machines read of it."""
