"""The built-in issuer, under Keycloak's paths and in Keycloak's shapes, so that Loculus's clients can log in."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from readvault.adapters.identity import REALM, EmbeddedIssuer, InvalidToken
from readvault.api.dependencies import HouseDep, documented, parameters
from readvault.api.login_limit import LoginLimit
from readvault.api.schemas import login as schemas
from readvault.domain.actor import Actor
from readvault.services.house import House
from readvault.services.people import accounts

_PROTOCOL = f"{REALM}/protocol/openid-connect"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/json": {"schema": schemas.REFUSAL}, "application/problem+json": {}},
    }
    for status, text in {
        400: "The request or the refresh token is no good.",
        401: "There is no such user with this password.",
        429: "Too many failed logins.",
    }.items()
}


def login_router(issuer: EmbeddedIssuer, limit: LoginLimit) -> APIRouter:
    """The token endpoint, the published keys and the discovery document of the built-in issuer."""
    router = APIRouter(tags=["login"])

    @router.post(f"{_PROTOCOL}/token", openapi_extra=documented(schemas.TokenRequest), responses=_REFUSALS)
    def token(
        house: HouseDep, asked: Annotated[schemas.TokenRequest, parameters(schemas.TokenRequest)]
    ) -> JSONResponse:
        """An access token for a password or for a refresh token."""
        if asked.grant_type == "password":
            return _password_grant(house, issuer, limit, asked.username, asked.password)
        if asked.grant_type == "refresh_token":
            return _refresh_grant(house, issuer, asked.refresh_token)
        return _refused(400, "unsupported_grant_type", "Unsupported grant_type")

    @router.get(f"{_PROTOCOL}/certs")
    def certs() -> dict[str, Any]:
        """The public keys (JWKS) that tokens are signed with."""
        return issuer.jwks()

    @router.get(f"{REALM}/.well-known/openid-configuration")
    def openid_configuration() -> dict[str, Any]:
        """Where everything is."""
        return {
            "issuer": issuer.url,
            "token_endpoint": f"{issuer.url}/protocol/openid-connect/token",
            "jwks_uri": f"{issuer.url}/protocol/openid-connect/certs",
            "grant_types_supported": ["password", "refresh_token"],
            "response_types_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["none"],
        }

    return router


def _password_grant(house: House, issuer: EmbeddedIssuer, limit: LoginLimit, name: str, password: str) -> JSONResponse:
    wait = limit.seconds_to_wait(name)
    if wait > 0:
        text = f"Too many failed logins of this user. Try again in {math.ceil(wait)} seconds."
        return _refused(429, "invalid_grant", text, {"Retry-After": str(math.ceil(wait))})
    actor = accounts.verify_password(house, name, password)
    if actor is None:
        limit.failed(name)
        return _refused(401, "invalid_grant", "Invalid user credentials")
    limit.succeeded(name)
    return _granted(issuer, actor)


def _refresh_grant(house: House, issuer: EmbeddedIssuer, refresh_token: str) -> JSONResponse:
    try:
        name = issuer.name_in_refresh_token(refresh_token)
    except InvalidToken:
        return _refused(400, "invalid_grant", "Invalid refresh token")
    actor = accounts.find_account(house, name)
    return _refused(400, "invalid_grant", "User is disabled") if actor is None else _granted(issuer, actor)


def _granted(issuer: EmbeddedIssuer, actor: Actor) -> JSONResponse:
    return JSONResponse(issuer.tokens(actor))


def _refused(status: int, error: str, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": text}, status, headers)
