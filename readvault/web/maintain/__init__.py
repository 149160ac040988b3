"""The maintainers' pages: what waits for a person, and what persons decide. Others get what they get elsewhere: 403."""
