"""Human reads leave, and nothing that was not screened goes on."""
