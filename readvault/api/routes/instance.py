"""What anybody may know of this instance: that it lives, where its parts are, which organisms it has."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response

from readvault import __version__
from readvault.api import loculus_info as loculus_info_of
from readvault.api.dependencies import CallerDep, HouseDep, OrganismDep
from readvault.services.house import House

router = APIRouter(tags=["instance"])

_PROBES = CapacityLimiter(4)
_READINESS = CapacityLimiter(4)
"""Threads of their own: whoever waits for a storage that hangs keeps nobody from hearing that the database is there."""
OLDEST_CLIENT = "0.0.0"
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is the one whose ETag was sent."}}
_TSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/tab-separated-values": {"schema": {"type": "string"}}}}
}


@router.get("/")
async def health(house: HouseDep) -> JSONResponse:
    """Whether the instance works; the shape of Loculus's root."""
    healthy = await _database_answers(house)
    body = {
        "name": "readvault",
        "status": "Healthy" if healthy else "Unhealthy",
        "documentation": "visit /api-docs",
        "isInDebugMode": False,
    }
    return JSONResponse(body, 200 if healthy else 503)


@router.get("/actuator/health")
async def actuator_health(house: HouseDep) -> JSONResponse:
    """Whether the instance works, for probes."""
    healthy = await _database_answers(house)
    return JSONResponse({"status": "UP" if healthy else "DOWN"}, 200 if healthy else 503)


@router.get("/actuator/health/liveness")
async def liveness() -> JSONResponse:
    """Whether this process lives; a new one would not be better off because something else is down."""
    return JSONResponse({"status": "UP"})


@router.get("/actuator/health/readiness")
async def readiness(request: Request, caller: CallerDep) -> JSONResponse:
    """Whether requests should come here: database, schema, triggers and storage. Maintainers are told what is wrong."""
    parts = await to_thread.run_sync(request.app.state.readiness.now, limiter=_READINESS)
    up = all(part.up for part in parts.values())
    body: dict[str, Any] = {"status": _word(up)}
    if caller is not None and caller.is_maintainer:
        body["components"] = {
            name: {"status": _word(part.up), "details": {"told": part.told}} for name, part in parts.items()
        }
    return JSONResponse(body, 200 if up else 503)


def _word(up: bool) -> str:
    return "UP" if up else "DOWN"


@router.get("/loculus-info", response_model=dict[str, Any], responses=_UNCHANGED)
def loculus_info(house: HouseDep, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Where everything is and what may be submitted, as Loculus's command line asks for it."""
    body = json.dumps(_info(house), ensure_ascii=False).encode()
    headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "Cache-Control": "no-cache"}
    if if_none_match is not None and headers["ETag"] in (each.strip() for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _info(house: House) -> dict[str, Any]:
    backend = house.settings.public_url.rstrip("/")
    return {
        "hosts": {
            "backend": backend,
            "keycloak": _identity_url(house),
            "website": backend,
            "lapis": {name: _lapis_url(house, name) for name in house.organisms},
        },
        "minCliVersion": OLDEST_CLIENT,
        "title": "readvault",
        "version": __version__,
        "organisms": {name: loculus_info_of.described(organism) for name, organism in house.organisms.items()},
    }


@router.get("/{organism}/metadata-template", response_class=Response, responses=_TSV)
def metadata_template(organism: OrganismDep, example: bool = False, revise: bool = False) -> Response:
    """An empty metadata file (TSV) with the organism's columns; perhaps with an example, perhaps for a revision."""
    text = loculus_info_of.template(organism, example=example, revision=revise)
    headers = {"Content-Disposition": f'attachment; filename="{organism.name}-metadata.tsv"'}
    return Response(text, media_type="text/tab-separated-values", headers=headers)


def _lapis_url(house: House, organism: str) -> str:
    """Where released entries are queried: the instance's LAPIS, else the small one of our own."""
    own = house.settings.public_url.rstrip("/") + "/{organism}/lapis"
    return (house.settings.lapis_url or own).replace("{organism}", organism)


def _identity_url(house: House) -> str:
    """The part of the issuer's address before `/realms/…`, which is what clients are configured with."""
    issuer = house.settings.identity.issuer or house.settings.public_url
    return issuer.partition("/realms/")[0].rstrip("/")


async def _database_answers(house: House) -> bool:
    """Asked on threads of its own, so that a probe doesn't wait behind everybody's requests."""
    return await to_thread.run_sync(house.sessions.answers, limiter=_PROBES)
