"""Reprocessing: released and unreleased entries get results of a newer pipeline version, in the background.

`choices` says which entries, `orders` who wants it and who confirmed it, `feeding` makes the jobs a few
at a time, `decisions` is what maintainers make of results that wait, and how they go back.
"""
