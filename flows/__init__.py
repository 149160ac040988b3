"""The story: what happens to a submission, and in what order."""
