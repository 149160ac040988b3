"""What must go for ever: with a second person, a proof and a tombstone."""
