"""A browser for tests: follows redirects within the site, keeps cookies, reads and sends forms."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient


@dataclass
class SentForm:
    """A form of a page: where it goes, its hidden fields, its checkboxes and buttons."""

    action: str
    method: str
    hidden: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, bool] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """What is on a page: forms, links, text, and everything that could run."""

    def __init__(self, status: int, html: str, headers: Mapping[str, str], path: str) -> None:
        super().__init__(convert_charrefs=True)
        self.status, self.html, self.headers, self.path = status, html, headers, path
        self.forms: list[SentForm] = []
        self.links: dict[str, str] = {}
        self.runnable: list[str] = []
        self._words: list[str] = []
        self._link: str | None = None
        self.feed(html)

    @property
    def text(self) -> str:
        """What people read."""
        return " ".join(" ".join(self._words).split())

    def form(self, button: str) -> SentForm:
        """The form that has this button."""
        return next(form for form in self.forms if button in form.buttons)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.runnable += [f"{tag} {name}" for name in given if name.startswith("on") or name in ("style", "srcdoc")]
        places = [given[name] for name in ("href", "src", "action", "formaction", "data") if name in given]
        self.runnable += [f"{tag} → {place}" for place in places if not place.startswith(("/web", "?", "#"))]
        if tag in ("iframe", "object", "embed", "svg", "math", "base", "img", "style", "template"):
            self.runnable.append(tag)
        if tag == "script" and not given.get("src", "").startswith("/web/static/"):
            self.runnable.append("script")
        if tag == "form":
            self.forms.append(SentForm(given["action"], given.get("method", "get")))
        if tag == "a" and "href" in given:
            self._link = given["href"]
        if self.forms:
            self._field(tag, given)

    def _field(self, tag: str, given: dict[str, str]) -> None:
        form = self.forms[-1]
        if tag == "input" and given.get("type") == "hidden":
            form.hidden[given["name"]] = given.get("value", "")
        if tag == "input" and given.get("type") == "checkbox":
            form.boxes[given["value"]] = "checked" in given
        if tag == "button":
            form.buttons.append(given.get("value", "submit"))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        self._words.append(data)
        if self._link is not None and data.strip():
            self.links[data.strip()] = self._link


class Browser:
    """One browser of one person."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.client.cookies.clear()

    def get(self, path: str, **params: Any) -> Page:
        """Look at a page."""
        return self._follow(self.client.get(path, params=params or None), path)

    def send(self, page: Page, button: str, *, chosen: list[str] | None = None, **fields: str) -> Page:
        """Fill a form and press its button; without `chosen` the boxes stay as they are."""
        form = page.form(button)
        boxes = [value for value, checked in form.boxes.items() if checked] if chosen is None else chosen
        data: dict[str, Any] = {**form.hidden, "action": button, "chosen": boxes, **fields}
        return self.post(form.action, data)

    def post(self, path: str, data: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Page:
        """Send fields anywhere."""
        return self._follow(self.client.post(path, data=dict(data), headers=dict(headers or {})), path)

    def log_in(self, name: str, password: str, wanted: str = "/web") -> Page:
        """Log in through the login page."""
        return self.send(self.get("/web/login", next=wanted), "submit", name=name, password=password)

    def _follow(self, response: Any, path: str) -> Page:
        for _ in range(5):
            if response.status_code not in (303, 307):
                break
            place = urljoin(str(response.url), response.headers["location"])
            if not place.startswith("http://testserver/"):
                break
            path = place.removeprefix("http://testserver")
            response = self.client.get(path)
        return Page(response.status_code, response.text, response.headers, path)
