"""The access matrix: every route, asked by every kind of caller, answers as its row says and leaks nothing.

One module for each room of routes, exporting `ROWS`; test_access_matrix.py finds them by itself, asks
each cell on a database of its own and fails for a route of the app without a row.

How to add rows (file `matrix/<your room>.py`)::

    from tests.integration.api.matrix.cells import Call, Row, anybody, members, role, secret, users

    ROWS = [
        # Path parameters come from `Scene.values` by their name: a PROCESSED entry of group A.
        Row("GET", "/{organism}/review/{accession}/{version}", members(200)),
        Row("POST", "/{organism}/approve-processed-data", members(200),
            lambda scene: Call(json={"scope": "ALL", "accessionVersionsFilter": [scene.processed.wire]})),
        Row("GET", "/files/{file_id}", secret(200), lambda scene: Call(path={"file_id": scene.open_file})),
        Row("POST", "/{organism}/extract-unprocessed-data", role("pipeline", 200), ..., shows={"pipeline"}),
        Row("GET", "/admin/audit", role("maintainer", 200)),
    ]

Everything is about group A (its members: `same_group`); `other_group` is Bob of group B. The callers are
CALLERS in cells.py. What to expect:

- `anybody(200)`: the same for all.
- `users(200)`: 401 for anonymous, the same for everybody else (what only lists one's own things too:
  the canaries tell whether it does).
- `members(200)`: 401 anonymous, 403 for all but members of group A and maintainers.
- `secret(200)`: the same with 404 in place of 403.
- `role("pipeline", 200)`: 401 anonymous, 403 for all but that role and maintainers (`role("maintainer", …)`
  for maintainers only).

Single callers are changed by keyword: `members(200, maintainer=403, pipeline=200)`. `small_token` is a
machine token of a member of group A whose scope covers nothing that a route asks for: 403 unless it's public.

The scene (scene.py) plants canaries: file names, file IDs, hashes, storage keys, metadata, submission IDs,
sequences of both groups. No body and no header may hold one of a group that the caller doesn't belong to,
unless the caller sent it. Maintainers may see them except storage keys of originals; `shows={"pipeline"}`
allows it to others, `opens_originals={"maintainer"}` allows the keys. A row may prepare its scene:
`prepare=lambda scene: …`. Several rows for one route are welcome; give them a `note`.
"""
