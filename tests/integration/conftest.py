"""What all tests with an app share."""

from __future__ import annotations

from tests import routes

routes.view_once()
