"""A lab that only knows the API: it sends each request again, under the same key, until there is an answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import httpx

from readvault.client.client import _TOKEN_PATH, LOGIN_CLIENT

TRIES_FOR = 120.0
"""Seconds for which a request is tried again: as long as an API that was killed may take to be back."""
BUSY = (502, 503, 504)


class Lab:
    """One logged-in person. What is answered with 4xx raises httpx.HTTPStatusError."""

    def __init__(self, api: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=api, timeout=60)
        self.repeated = 0
        form = {"client_id": LOGIN_CLIENT, "grant_type": "password", "username": user, "password": password}
        self._token = self._send("POST", _TOKEN_PATH, data=form).json()["access_token"]

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def upload(self, group: int, key: str, bodies: Sequence[bytes]) -> str:
        """Upload files; the cell of the metadata that names them."""
        files = [
            {"name": f"reads_{n}.fastq.gz", "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            for n, body in enumerate(bodies, 1)
        ]
        answers = self.ask("POST", "/files/request-uploads", key, json={"groupId": group, "files": files})
        for answer, body in zip(answers, bodies, strict=True):
            if (put := answer["put"]) is None:
                continue
            sent = self._http.put(put["url"], headers=put["headers"], content=body)
            if sent.status_code != 412:  # it is there already: the answer was lost
                sent.raise_for_status()
        return " ".join(f"{file['name']}:{answer['fileId']}" for file, answer in zip(files, answers, strict=True))

    def ask(self, method: str, path: str, key: str | None = None, **request: Any) -> Any:
        """The answer of the API, however often it has to be asked."""
        headers = {"Authorization": f"Bearer {self._token}"} | ({} if key is None else {"Idempotency-Key": key})
        answer = self._send(method, path, headers=headers, **request)
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        end = time.monotonic() + TRIES_FOR
        while True:
            try:
                answer = self._http.request(method, path, **request)
                if answer.status_code not in BUSY:
                    return answer.raise_for_status()
            except httpx.TransportError:
                if time.monotonic() > end:
                    raise
            self.repeated += 1
            time.sleep(0.1)
