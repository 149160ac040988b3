"""The rules and the words. Nothing in here does I/O."""
