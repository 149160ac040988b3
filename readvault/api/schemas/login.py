"""The wire shapes of the token endpoint."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from readvault.api.dependencies import Text


class TokenRequest(BaseModel):
    """The form of the token endpoint (OAuth 2, RFC 6749 §4.3 and §6)."""

    model_config = ConfigDict(extra="ignore")
    grant_type: str = ""
    username: Text = ""
    password: str = ""
    refresh_token: str = ""


REFUSAL: dict[str, Any] = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    "required": ["error", "error_description"],
}
"""An OAuth error (RFC 6749 §5.2)."""
