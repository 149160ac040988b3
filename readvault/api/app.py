"""The HTTP API, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute

from readvault import __version__
from readvault.adapters.identity import Identity
from readvault.api import description, errors
from readvault.api.authentication import Callers
from readvault.api.login_limit import LoginLimit
from readvault.api.measuring import Measured
from readvault.api.middleware import BodyLimit, Gate, ReadOnly, RequestContext
from readvault.api.once_more import OnceMore
from readvault.api.readiness import Readiness
from readvault.api.routes import (
    admin,
    batches,
    differences,
    downloads,
    drops,
    entries,
    erasures,
    exports,
    files,
    groups,
    instance,
    lapis,
    limits,
    manifests,
    metrics,
    organisms,
    pipelines,
    pulls,
    released,
    reprocessing,
    review,
    screenings,
    submission,
    submitted,
    terms,
    tokens,
)
from readvault.api.routes.login import login_router
from readvault.config import LimitSettings
from readvault.services.house import House
from readvault.services.housekeeping.figures import Figures

BYTES_OF_JSON = 16 * 10**6
BYTES_AROUND_PARTS = 10**6
"""What a multipart body has besides its files."""
PROBLEM: dict[str, Any] = {
    "description": "What is wrong, as problem+json (RFC 9457). A bad token gets 401 with an empty body.",
    "content": {"application/problem+json": {"schema": errors.PROBLEM_SCHEMA}},
}
EXPOSED_HEADERS = ["ETag", "x-request-id", "x-total-records", "x-manifest-digest", "x-pipeline-version", "Location"]


def create_app(house: House, identity: Identity) -> FastAPI:
    """The API of this house, for users whom `identity` knows.

    The login pages of the built-in issuer are there only when `identity` is that issuer.
    """
    app = FastAPI(
        title="readvault",
        version=__version__,
        description="Raw sequencing reads for pathogen sequence databases: upload, process, review, release.",
        openapi_url="/api-docs",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        responses={"default": PROBLEM},
    )
    app.state.house = house
    errors.install(app)
    app.state.figures = Figures(house)
    app.state.readiness = Readiness(house)
    app.include_router(instance.router)
    app.include_router(metrics.router)
    if identity.embedded is not None:
        app.state.login_limit = LoginLimit()
        app.include_router(login_router(identity.embedded, app.state.login_limit))
    # Paths that begin with an organism's name come last.
    rooms = (
        *(
            admin,
            organisms,
            differences,
            reprocessing,
            erasures,
            exports,
            limits,
            files,
            downloads,
            drops,
            pulls,
            groups,
            terms,
            tokens,
            released,
        ),
        *(screenings, lapis, pipelines, submission, submitted, review, entries, manifests, batches),
    )
    for room in rooms:
        app.include_router(room.router)
    description.install(app)
    _surround(app, house, identity)
    return app


def _surround(app: FastAPI, house: House, identity: Identity) -> None:
    """The last one added is the outermost: browsers may read errors too, and every fault finds its answer."""
    app.add_middleware(BodyLimit, limit_for=_limit_of_bodies(house.settings.limits))
    if house.settings.read_only_mode:
        app.add_middleware(ReadOnly)
    app.add_middleware(Gate, callers=Callers(house, identity))
    app.add_middleware(OnceMore)
    app.add_middleware(RequestContext)
    # Tokens travel in a header that no foreign page can set by itself, never in cookies: any origin may ask.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    app.add_middleware(Measured)


def _limit_of_bodies(limits: LimitSettings) -> Callable[[str], int]:
    """How many bytes the body of a request may have, by its path."""
    submission = limits.bytes_of_metadata + limits.bytes_of_sequences + BYTES_AROUND_PARTS
    return lambda path: submission if path.endswith(("/submit", "/revise", "/submit-processed-data")) else BYTES_OF_JSON


def _operation_id(route: APIRoute) -> str:
    return route.name
