"""What anybody may know of this instance: that it lives, where its parts are, which organisms it has."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from readvault.api.dependencies import HouseDep
from readvault.domain.organism import Organism
from readvault.services.house import House

router = APIRouter(tags=["instance"])

OLDEST_CLIENT = "0.0.0"


@router.get("/")
def health(house: HouseDep) -> JSONResponse:
    """Whether the instance works; the shape of Loculus's root."""
    healthy = _database_answers(house)
    body = {
        "name": "readvault",
        "status": "Healthy" if healthy else "Unhealthy",
        "documentation": "visit /api-docs",
        "isInDebugMode": False,
    }
    return JSONResponse(body, 200 if healthy else 503)


@router.get("/actuator/health")
def actuator_health(house: HouseDep) -> JSONResponse:
    """Whether the instance works, for probes."""
    healthy = _database_answers(house)
    return JSONResponse({"status": "UP" if healthy else "DOWN"}, 200 if healthy else 503)


@router.get("/loculus-info")
def loculus_info(house: HouseDep) -> dict[str, Any]:
    """Where everything is and what may be submitted, as Loculus's command line asks for it."""
    backend = house.settings.public_url.rstrip("/")
    return {
        "hosts": {"backend": backend, "keycloak": _identity_url(house), "website": backend, "lapis": {}},
        "minCliVersion": OLDEST_CLIENT,
        "title": "readvault",
        "organisms": {name: _described(organism) for name, organism in house.organisms.items()},
    }


def _described(organism: Organism) -> dict[str, Any]:
    metadata = [
        {"name": field.name, "type": str(field.type), "required": field.required, "displayName": field.display_name}
        for field in organism.metadata
    ]
    return {
        "displayName": organism.title,
        "schema": {
            "organismName": organism.title,
            "metadata": metadata,
            "submissionDataTypes": {
                "consensusSequences": organism.submission.consensus_sequences != "forbidden",
                "files": {
                    "enabled": bool(organism.submission.files),
                    "categories": [{"name": name} for name in organism.submission.files],
                },
            },
        },
    }


def _identity_url(house: House) -> str:
    """The part of the issuer's address before `/realms/…`, which is what clients are configured with."""
    issuer = house.settings.identity.issuer or house.settings.public_url
    return issuer.partition("/realms/")[0].rstrip("/")


def _database_answers(house: House) -> bool:
    try:
        with house.sessions.read() as session:
            session.connection().execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True
