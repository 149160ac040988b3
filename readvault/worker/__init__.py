"""What a worker does: it holds jobs, runs them in its nursery, and looks after the house beside them."""
