"""What nothing refers to any more goes, in two phases."""
