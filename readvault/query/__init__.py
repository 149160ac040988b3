"""Mutations over time and place, counted from an exported set of aligned reads.

Needs the extra `query` and nothing of a server: what `readvault export-silo` wrote, or anybody downloaded, is all.
"""


class QueryError(Exception):
    """A question that can't be answered, or a set that can't be read: the message is for whoever asked."""
