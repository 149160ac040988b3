"""The form of a new order to reprocess: what was typed becomes a choice, or a sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from readvault.domain.errors import BadRequest
from readvault.services.reprocessing.choices import Choice
from readvault.web.site import Form

_TEXTS = (
    "organism",
    "released",
    "versions",
    "submittedFrom",
    "submittedUntil",
    "processedFrom",
    "processedUntil",
    "tool",
    "toolVersion",
    "groupIds",
    "accessionVersions",
    "perHour",
    "reason",
)
_LISTS = ("results", "platforms")
MOST_NAMED = 1000


@dataclass(frozen=True, slots=True)
class OrderForm:
    """The fields as they were typed, so that nothing is lost when the page comes again."""

    texts: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, form: Form) -> OrderForm:
        """What somebody sent."""
        return cls({name: form.one(name).strip() for name in _TEXTS}, {name: form.all(name)[:20] for name in _LISTS})

    def text(self, name: str) -> str:
        """One field, empty unless it was typed."""
        return self.texts.get(name, "")

    def has(self, name: str, value: str) -> bool:
        """Whether a box was ticked."""
        return value in self.lists.get(name, ())

    def choice(self) -> Choice:
        """Which entries are meant; raises BadRequest, in words for people."""
        options: dict[str, object] = {
            "released": self.text("released") or "any",
            "versions": self.text("versions") or "all",
            "results": tuple(self.lists.get("results", ())),
            "platforms": tuple(self.lists.get("platforms", ())),
            "accession_versions": tuple(_words(self.text("accessionVersions"))),
            "group_ids": tuple(_numbers(self.text("groupIds"))),
            "submitted_from": self.text("submittedFrom") or None,
            "submitted_until": self.text("submittedUntil") or None,
            "processed_from": self.text("processedFrom") or None,
            "processed_until": self.text("processedUntil") or None,
            "tool": self.text("tool") or None,
            "tool_version": self.text("toolVersion") or None,
        }
        return Choice.of_options(**options)

    def per_hour(self) -> int | None:
        """At most so many entries an hour; None: as fast as the background allows. Raises BadRequest."""
        typed = self.text("perHour")
        if not typed:
            return None
        if not typed.isascii() or not typed.isdecimal() or not 1 <= len(typed) <= 7 or int(typed) < 1:
            raise BadRequest("Entries an hour is a whole number from 1 on, or nothing.")
        return int(typed)


def _words(text: str) -> list[str]:
    words = text.replace(",", " ").split()
    if len(words) > MOST_NAMED:
        raise BadRequest(f"At most {MOST_NAMED} accession versions can be named.")
    return words


def _numbers(text: str) -> Iterable[int]:
    for word in _words(text):
        if not word.isascii() or not word.isdecimal() or len(word) > 9:
            raise BadRequest("Groups are named by their numbers.")
        yield int(word)
