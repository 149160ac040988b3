"""A sample's reads as rows of SILO: after the alignment, without metadata."""
