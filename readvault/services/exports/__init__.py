"""Aligned reads of an organism as one set for SILO: made anew each night, out of parts that stay as they are."""
