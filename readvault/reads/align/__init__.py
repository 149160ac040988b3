"""Reads onto the reference: which reference, which primers, sorted records."""
