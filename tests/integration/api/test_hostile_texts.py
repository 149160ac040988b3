"""Every text field × every hostile text: stored exactly or refused, never half, never run, never a server error."""

from __future__ import annotations

import json

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.integration.api import hostile
from tests.integration.api.hostile import FIELDS, PAYLOADS, SURROGATE, TextField
from tests.integration.api.matrix.scene import Scene

STORED = [field for field in FIELDS if not field.in_url]
CASES = [pytest.param(field, text, id=f"{field.name}: {name}") for field in STORED for name, text in PAYLOADS.items()]
TYPES = ("application/json", "application/problem+json")


def assert_harmless(answer: httpx.Response) -> None:
    """The answer is one that no browser runs and no header smuggles something into."""
    assert answer.status_code < 500, answer.text[:2000]
    if answer.status_code not in (204, 307):
        assert answer.headers["content-type"] in TYPES
        answer.json()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    assert all(char.isprintable() for value in answer.headers.values() for char in value)
    assert answer.status_code < 300 or len(answer.content) < 130_000, "a refusal is as long as what was sent"


@pytest.fixture(scope="module")
def fields_before() -> list[str]:
    """The fields whose texts are in the scene."""
    return []


@pytest.mark.parametrize(("field", "text"), CASES)
def test_a_text_is_stored_exactly_or_refused(
    field: TextField, text: str, scene: Scene, client: TestClient, fields_before: list[str]
) -> None:
    # What earlier fields left behind makes every list longer, and so every case slower than the one before.
    if field.once or fields_before[-1:] != [field.name]:
        scene.restore()
        fields_before.append(field.name)
    answer = field.send(client, scene, text)
    assert_harmless(answer)
    if answer.status_code < 300:
        expected = text.strip() if field.trimmed else text
        for found in field.read(client, scene, answer, text):
            assert found == expected


@pytest.mark.parametrize("field", [field for field in FIELDS if field.in_url], ids=lambda field: field.name)
def test_a_text_in_a_url_is_sought_or_refused(field: TextField, scene: Scene, client: TestClient) -> None:
    for text in PAYLOADS.values():
        assert_harmless(field.send(client, scene, text))


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_half_a_character_is_refused(field: TextField, scene: Scene, client: TestClient) -> None:
    answer = field.send(client, scene, SURROGATE)
    assert_harmless(answer)
    assert field.in_url or 400 <= answer.status_code < 500


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 300


def test_ordinary_texts_of_all_scripts_are_taken(scene: Scene, client: TestClient) -> None:
    """Else everything above could be refusals."""
    taken = set()
    for field in FIELDS:
        scene.restore()
        for name in ("nfc", "nfd", "emoji", "four bytes", "arabic", "script"):
            if field.once:
                scene.restore()
            if field.send(client, scene, PAYLOADS[name]).status_code < 300:
                taken.add((field.name, name))
    for stored in ("group groupName", "submission ID", "metadata", "reason to send back", "token name"):
        assert {name for field, name in taken if field == stored} >= {"nfc", "nfd", "emoji", "four bytes", "arabic"}
    assert {name for field, name in taken if field == "file label"} >= {"nfc", "nfd", "arabic"}


def test_what_looks_like_json_or_nothing_stays_text(scene: Scene, client: TestClient) -> None:
    answer = hostile.submit(client, scene, {"id": "null", "date": "2020-01-01", "country": "NA"})
    (entry,) = answer.json()
    assert json.dumps(entry["submissionId"]) == '"null"'
