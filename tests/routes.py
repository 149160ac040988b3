"""FastAPI's view of our routes, made once for all apps of a test process.

At the first request to an app FastAPI looks through the signatures of all routes that were included into
it: a third of a second of CPU, and nearly every test of the API has an app of its own. What it finds
depends on the route and on how it was included, never on the app (but for `dependency_overrides`, which
nobody here uses).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import routing


def view_once() -> None:
    """Let every app of this process share what FastAPI found out about routes that modules have."""
    found: dict[int, list[tuple[Any, Any]]] = {}
    view = routing._EffectiveRouteContext.from_api_route

    def view_or_found(*, original_route: routing.APIRoute, include_context: Any) -> Any:
        if "<locals>" in original_route.endpoint.__qualname__:  # made for one app, like the built-in login
            return view(original_route=original_route, include_context=include_context)
        included = replace(include_context, dependency_overrides_provider=None)
        known = found.setdefault(id(original_route), [])
        for how, seen in known:
            if how == included and seen.original_route is original_route:
                return seen
        seen = view(original_route=original_route, include_context=included)
        known.append((included, seen))
        return seen

    routing._EffectiveRouteContext.from_api_route = view_or_found  # type: ignore[method-assign, assignment]
