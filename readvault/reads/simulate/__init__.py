"""Reads made from a genome, with their truth."""
