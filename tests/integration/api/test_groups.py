"""Groups and the instance over HTTP."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from readvault.api.middleware import is_public
from readvault.services.house import House
from readvault.services.people.accounts import create_account
from tests.houses import ALICE, BOB, group_of
from tests.integration.api.problems import assert_problem

GROUP: dict[str, Any] = {
    "groupName": "Lab",
    "institution": "Institute",
    "address": {"line1": "1 Way", "line2": "", "city": "Basel", "state": "", "postalCode": "4000", "country": "CH"},
    "contactEmail": "lab@example.org",
}


def test_a_group_is_made_read_and_listed(api: TestClient, headers: Any) -> None:
    made = api.post("/groups", json=GROUP, headers=headers(ALICE))
    assert made.status_code == 200
    group_id = made.json()["groupId"]
    assert made.json() == {"groupId": group_id, **GROUP}
    whole = api.get(f"/groups/{group_id}", headers=headers(BOB)).json()
    assert whole == {"group": made.json(), "users": [{"name": "alice"}]}
    anonymous = api.get(f"/groups/{group_id}").json()
    assert anonymous == {"group": {**made.json(), "contactEmail": None}, "users": None}
    assert api.get("/user/groups", headers=headers(ALICE)).json() == [made.json()]
    assert api.get("/user/groups", headers=headers(BOB)).json() == []
    assert api.get("/groups", params={"name": "Lab"}, headers=headers(BOB)).json() == [made.json()]
    assert api.get("/groups", params={"name": "Other"}, headers=headers(BOB)).json() == []


@pytest.mark.parametrize("change", [{"groupName": "a\x00"}, {"address": {**GROUP["address"], "city": "\x00"}}])
def test_texts_that_no_database_can_hold_are_refused(api: TestClient, headers: Any, change: dict[str, Any]) -> None:
    assert_problem(api.post("/groups", json={**GROUP, **change}, headers=headers(ALICE)), 400, "NUL")


def test_an_unknown_group(api: TestClient, headers: Any) -> None:
    assert_problem(api.get("/groups/77"), 404, "Group 77 does not exist.")
    assert_problem(api.get("/groups/seven", headers=headers(ALICE)), 400)


def test_a_member_may_bring_in_and_take_out_others(api: TestClient, headers: Any, house: House) -> None:
    create_account(house, "bob", "password")
    group_id = group_of(house, ALICE)
    bob = f"/groups/{group_id}/users/bob"
    assert_problem(api.put(bob, headers=headers(BOB)), 403)
    assert api.put(bob, headers=headers(ALICE)).status_code == 204
    assert_problem(api.put(bob, headers=headers(ALICE)), 409)
    assert [group["groupId"] for group in api.get("/user/groups", headers=headers(BOB)).json()] == [group_id]
    assert api.delete(bob, headers=headers(ALICE)).status_code == 204
    assert api.get("/user/groups", headers=headers(BOB)).json() == []


def test_a_group_can_be_edited_by_its_members(api: TestClient, headers: Any, house: House) -> None:
    group_id = group_of(house, ALICE)
    changed = {**GROUP, "groupName": "Renamed"}
    assert_problem(api.put(f"/groups/{group_id}", json=changed, headers=headers(BOB)), 403)
    assert api.put(f"/groups/{group_id}", json=changed, headers=headers(ALICE)).json()["groupName"] == "Renamed"


def test_the_instance_says_that_it_lives(api: TestClient) -> None:
    root = api.get("/")
    assert root.status_code == 200
    assert root.json() == {
        "name": "readvault",
        "status": "Healthy",
        "documentation": "visit /api-docs",
        "isInDebugMode": False,
    }
    assert api.get("/actuator/health").json() == {"status": "UP"}


def test_the_instance_says_what_loculus_clients_ask_for(api: TestClient, house: House) -> None:
    info = api.get("/loculus-info").json()
    address = house.settings.public_url
    assert info["hosts"] == {
        "backend": address,
        "keycloak": address,
        "website": address,
        "lapis": {"sars-cov-2": f"{address}/sars-cov-2/lapis"},
    }
    assert {"minCliVersion", "title"} <= set(info)
    fields = info["organisms"]["sars-cov-2"]["schema"]["metadata"]
    assert fields[0].items() >= {"name": "date", "type": "date", "required": True}.items()


def test_the_description_leads_nowhere_wrong(api: TestClient) -> None:
    text = api.get("/api-docs").text
    known = {f"#/components/schemas/{name}" for name in json.loads(text)["components"]["schemas"]}
    assert set(re.findall(r'"\$ref":"([^"]+)"', text)) <= known
    for path, operations in json.loads(text)["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status == "default" or int(status) >= 400:
                    assert "application/problem+json" in answer["content"], (path, status)
    assert "HTTPValidationError" not in text  # malformed requests are 400 with a problem, as in Loculus


def test_the_description_says_who_needs_a_token(api: TestClient) -> None:
    described = api.get("/api-docs").json()
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            needs_one = operation["security"] == [{"bearer": []}]
            assert needs_one == (not is_public(method.upper(), path)), (method, path)
            assert {"401", "403"} <= set(operation["responses"]) or not needs_one
            assert operation.get("description"), (method, path)


def test_the_api_describes_itself(api: TestClient) -> None:
    paths = api.get("/api-docs").json()["paths"]
    body = paths["/{organism}/submit"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["properties"]) == {
        "metadataFile",
        "sequenceFile",
        "groupId",
        "dataUseTermsType",
        "restrictedUntil",
        "dryRun",
    }
    assert body["required"] == ["metadataFile", "groupId"]
    listed = paths["/files/request-upload"]["post"]["parameters"]
    assert [(each["name"], each["required"]) for each in listed if each["in"] == "query"] == [
        ("groupId", True),
        ("numberFiles", False),
    ]
