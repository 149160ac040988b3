"""The style and the script of the pages: the only files that are served, each read once."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import Response

from readvault.domain.errors import NotFound
from readvault.web.site import HOME, PageRoute

router = APIRouter(prefix=f"{HOME}/static", route_class=PageRoute, include_in_schema=False)

_SCRIPT = "text/javascript"
_TYPES = {"style.css": "text/css", "page.js": _SCRIPT, "drop.js": _SCRIPT, "icon.svg": "image/svg+xml"}
_FILES = {name: resources.files("readvault.web").joinpath("static", name).read_bytes() for name in _TYPES}


@router.get("/{name}")
def static_file(name: str) -> Response:
    """A file of ours."""
    if name not in _FILES:
        raise NotFound("There is no such file.")
    headers = {"Cache-Control": "public, max-age=300", "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(_FILES[name], media_type=_TYPES[name], headers=headers)
