"""What the reads say: counts, consensus, variants, coverage, proteins."""
