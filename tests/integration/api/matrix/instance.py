"""What anybody may know of the instance, and the built-in issuer."""

from __future__ import annotations

from tests.integration.api.matrix.cells import Call, Row, anybody, role

_OPENID = "/realms/loculus/protocol/openid-connect"

ROWS = [
    Row("GET", "/", anybody(200)),
    Row("GET", "/api-docs", anybody(200)),
    Row("GET", "/actuator/health", anybody(200)),
    Row("GET", "/actuator/health/liveness", anybody(200)),
    Row("GET", "/actuator/health/readiness", anybody(200)),
    Row("GET", "/metrics", role("maintainer", 200)),
    Row("GET", "/loculus-info", anybody(200)),
    Row("GET", "/{organism}/metadata-template", anybody(200)),
    Row("GET", "/realms/loculus/.well-known/openid-configuration", anybody(200)),
    Row("GET", f"{_OPENID}/certs", anybody(200)),
    Row(
        "POST",
        f"{_OPENID}/token",
        anybody(401),
        lambda _: Call(data={"grant_type": "password", "username": "alice", "password": "guessed"}),
        note="a wrong password",
    ),
    Row(
        "POST",
        f"{_OPENID}/token",
        anybody(400),
        lambda _: Call(data={"grant_type": "refresh_token", "refresh_token": "forged"}),
        note="a forged refresh token",
    ),
]
