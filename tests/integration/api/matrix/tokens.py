"""Machine tokens of the user: everybody's own."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, users

WISH = {"name": "robot", "scopes": ["upload"], "expiresInDays": 7}

ROWS = [
    Row("GET", "/user/tokens", users(200)),
    Row("POST", "/user/tokens", users(200), lambda scene: Call(json=WISH)),
    Row(
        "POST",
        "/user/tokens",
        users(403, same_group=200, maintainer=200),
        lambda scene: Call(json={**WISH, "groupId": scene.group_id}),
        note="for group A",
    ),
    Row(
        "DELETE",
        "/user/tokens/{token_id}",
        users(404),
        lambda scene: Call(path={"token_id": "no-such-token"}),
    ),
]
