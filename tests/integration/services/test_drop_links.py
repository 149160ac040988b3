"""Drop links: what their holders can do, when they end, and how much fits, exactly under races."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import Session, col, delete, func, select

from readvault.db.tables import AuditEntry, DropLink, DroppedFile, EntryFile, GroupMember, UploadedFile, UserAccount
from readvault.domain.actor import Actor
from readvault.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    RuleViolation,
    StoreUnavailable,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unprocessable,
)
from readvault.domain.identifiers import AccessionVersion
from readvault.domain.reads import FileFormat
from readvault.services.drops import announcing, arrivals, delivering, forms, links, unclaimed
from readvault.services.drops.announcing import CLAIMED, DISCARDED, EXPIRED, OPEN, UNCLAIMED
from readvault.services.drops.links import DAY, Wish
from readvault.services.house import House
from readvault.services.people import accounts, groups
from readvault.services.storage.erasing import erasure
from readvault.services.storage.garbage import collection
from readvault.services.submission.editing import EditedData, edit
from readvault.services.submission.metadata_file import NamedFile
from readvault.services.submission.new_entries import submit
from readvault.services.uploads.answers import WantedFile
from readvault.worker import recovery
from tests.fakes import MemoryStore, Refused
from tests.houses import ALICE, BOB, MAINTAINER, group_of, tsv, upload
from tests.integration.services import life, scenes
from tests.integration.services.drop_scenes import (
    ROW,
    announced,
    delivered,
    dropped,
    let_pass,
    link_of,
    prepared,
    upload_of,
    used,
    with_account,
    with_limits,
    with_links,
)

RACES = int(os.environ.get("READVAULT_RACES", "48"))
"""How many announcements race."""
HOUR = 3600.0
HOSTILE = [
    "../../etc/passwd",
    "a b.fastq",
    'x".fastq',
    "a\nb.fastq",
    "con:trol",
    "\u202egpj.fastq",
    "",
    "a" * 256,
    "..",
    "a/b",
    "a\\b",
    "\x7f",
    "nul\x00",
]
BODY = b"@r\nACGT\n+\nIIII\n"


def send(house: House, group_id: int, *rows: dict[str, str], dry_run: bool = False) -> list[str | None]:
    sent = submit(
        house, ALICE, scenes.ORGANISM, group_id=group_id, metadata=tsv(*rows), metadata_name="m.tsv", dry_run=dry_run
    )
    return [each.accession for each in sent]


class TestMaking:
    def test_a_token_is_told_once_and_stored_as_a_hash(self, house: House) -> None:
        house, group_id = prepared(house)
        view, token = links.make_link(house, ALICE, group_id, Wish("plates", 7))
        assert token is not None
        assert token.startswith("rvd_")
        with house.sessions.read() as session:
            row = session.get_one(DropLink, view.id)
            rows = session.exec(select(AuditEntry).where(AuditEntry.subject == f"drop link {view.id}")).all()
        assert row.token_sha256 == hashlib.sha256(token.encode()).hexdigest()
        assert token not in str(row) + str(rows) + str(links.list_links(house, ALICE, group_id))
        assert [each.action for each in rows] == ["make drop link"]

    def test_who_may_make_one(self, house: House) -> None:
        house, group_id = prepared(house)
        for actor, fault in ((None, Unauthenticated), (BOB, Forbidden)):
            with pytest.raises(fault):
                links.make_link(house, actor, group_id, Wish("x", 1))
        with pytest.raises(NotFound):
            links.make_link(house, ALICE, 999, Wish("x", 1))
        assert links.make_link(house, MAINTAINER, group_id, Wish("x", 1))[0].created_by == MAINTAINER.name

    def test_what_is_refused(self, house: House) -> None:
        house, group_id = prepared(house)
        wishes: list[tuple[dict[str, Any], type[RuleViolation]]] = [
            ({"days": 0}, BadRequest),
            ({"days": 91}, BadRequest),
            ({"bytes_quota": 0}, BadRequest),
            ({"bytes_quota": 10**13}, BadRequest),
            ({"objects_quota": 0}, BadRequest),
            ({"objects_quota": 10**5}, BadRequest),
            ({"categories": ()}, BadRequest),
            ({"formats": ()}, BadRequest),
            ({"categories": ("consensus",)}, Unprocessable),
            ({"organism": "no-such"}, BadRequest),
        ]
        for wish, fault in wishes:
            with pytest.raises(fault):
                links.make_link(house, ALICE, group_id, Wish(**{"label": "x", "days": 7, **wish}))

    def test_a_group_has_so_many_and_no_more(self, house: House) -> None:
        house, group_id = prepared(house, open_per_group=2)
        first, _ = link_of(house, group_id)
        link_of(house, group_id)
        with pytest.raises(Unprocessable):
            link_of(house, group_id)
        links.revoke_link(house, ALICE, first, group_id)
        link_of(house, group_id)

    def test_switched_off_there_is_nothing(self, house: House) -> None:
        on, group_id = prepared(house)
        _, token = link_of(on, group_id)
        name = delivered(on, token, BODY)
        for call in (
            lambda: links.make_link(house, ALICE, group_id, Wish("x", 1)),
            lambda: links.list_links(house, ALICE, group_id),
            lambda: announced(house, token, BODY),
            lambda: delivering.progress(house, token, name),
            lambda: unclaimed.unclaimed_files(house, ALICE, group_id),
        ):
            with pytest.raises(NotFound):
                call()
        with pytest.raises(Unprocessable, match=f"do not exist: drop:{name}"):
            send(house, group_id, {**ROW, "files.rawReads": f"drop:{name}"})


def _revoked(house: House, group_id: int, link_id: str) -> None:
    links.revoke_link(house, ALICE, link_id, group_id)


def _revoked_by_maintainer(house: House, _group_id: int, link_id: str) -> None:
    links.revoke_link(house, MAINTAINER, link_id)


def _expired(house: House, _group_id: int, _link_id: str) -> None:
    let_pass(house, 8 * DAY)


def _maker_left(house: House, group_id: int, _link_id: str) -> None:
    groups.remove_member(house, MAINTAINER, group_id, ALICE.name)


def _maker_left_and_came_again(house: House, group_id: int, link_id: str) -> None:
    _maker_left(house, group_id, link_id)
    groups.add_member(house, MAINTAINER, group_id, ALICE.name)


def _maker_disabled(house: House, _group_id: int, _link_id: str) -> None:
    accounts.disable_account(house, MAINTAINER, ALICE.name)


def _maker_disabled_and_enabled(house: House, group_id: int, link_id: str) -> None:
    _maker_disabled(house, group_id, link_id)
    accounts.set_password(house, MAINTAINER, ALICE.name, "another", enable=True)


def _membership_row_gone(house: House, group_id: int, _link_id: str) -> None:
    with house.sessions.begin() as session:
        session.delete(session.get_one(GroupMember, (group_id, ALICE.name)))


def _account_row_gone(house: House, _group_id: int, _link_id: str) -> None:
    with house.sessions.begin() as session:
        session.delete(session.get_one(UserAccount, ALICE.name))


ENDS: tuple[Callable[[House, int, str], None], ...] = (
    _revoked,
    _revoked_by_maintainer,
    _expired,
    _maker_left,
    _maker_left_and_came_again,
    _maker_disabled,
    _maker_disabled_and_enabled,
    _membership_row_gone,
    _account_row_gone,
)


@pytest.mark.parametrize("end", ENDS)
def test_a_link_that_ended_is_told_from_no_unknown_one(house: House, end: Callable[[House, int, str], None]) -> None:
    house, group_id = prepared(house)
    link_id, token = link_of(house, group_id)
    ticket = announced(house, token, BODY)
    end(house, group_id, link_id)
    texts = set()
    for each in (token, links.PREFIX + "unknown" * 6):
        for call in (
            lambda t=each: announcing.purpose(house, t),
            lambda t=each: announced(house, t, BODY),
            lambda t=each: forms.announce_form(house, t, "a.fq"),
            lambda t=each: delivering.progress(house, t, ticket.object_name),
            lambda t=each: delivering.sign_again(house, t, ticket.object_name),
            lambda t=each: delivering.sign_parts(house, t, ticket.object_name, [1]),
            lambda t=each: delivering.complete(house, t, ticket.object_name),
        ):
            with pytest.raises(NotFound) as caught:
                call()
            texts.add(str(caught.value))
    assert texts == {links.NO_LINK}


def test_a_maintainers_link_ends_with_the_role(house: House) -> None:
    house, group_id = prepared(house)
    _, token = link_of(house, group_id, MAINTAINER)
    assert announced(house, token, BODY).put is not None
    with house.sessions.begin() as session:
        session.get_one(UserAccount, MAINTAINER.name).roles = []
    with pytest.raises(NotFound):
        announced(house, token, BODY)


def test_a_revocation_is_written_down_once(house: House) -> None:
    house, group_id = prepared(house)
    link_id, _ = link_of(house, group_id)
    other, _ = link_of(house, group_id)
    for _ in range(2):
        links.revoke_link(house, ALICE, link_id, group_id)
    _maker_left(house, group_id, other)
    with house.sessions.read() as session:
        query = select(AuditEntry.subject).where(AuditEntry.action == "revoke drop link").order_by(col(AuditEntry.id))
        assert session.exec(query).all() == [f"drop link {link_id}", f"drop link {other}"]
    with pytest.raises(NotFound):
        links.revoke_link(house, BOB, link_id, group_of(house, BOB))


class TestDelivering:
    def test_a_key_of_ours_once_with_size_and_hash(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id)
        ticket = announced(house, token, BODY)
        store = house.store
        assert isinstance(store, MemoryStore)
        assert ticket.put is not None
        for wrong in (BODY + b"x", BODY.replace(b"A", b"C")):
            with pytest.raises(Refused):
                store.put(ticket.put, wrong)
        store.put(ticket.put, BODY)
        with pytest.raises(Refused) as again:
            store.put(ticket.put, BODY)
        assert again.value.status == 412
        (key,) = store.versions
        assert key == f"incoming/drop-{link_id}/{ticket.object_name}"
        assert delivering.progress(house, token, ticket.object_name).state == "delivered"
        (file,) = unclaimed.unclaimed_files(house, ALICE, group_id)
        assert (file.object_name, file.name, file.size) == (ticket.object_name, "r1.fastq", len(BODY))
        assert (file.sha256, file.link_label) == (hashlib.sha256(BODY).hexdigest(), "sequencer")

    def test_in_parts_and_going_on_where_it_was_cut_off(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        body = os.urandom(1) * (33 * 10**6)
        ticket = announcing.announce(house, token, WantedFile("big.bam", len(body)), in_parts=True)
        assert (ticket.put, ticket.part_size, ticket.part_count) == (None, 32 * 10**6, 2)
        name, store = ticket.object_name, house.store
        assert isinstance(store, MemoryStore)
        (first,) = delivering.sign_parts(house, token, name, [1])
        store.put(first.request, body[: 32 * 10**6])
        assert delivering.progress(house, token, name).missing == (2,)
        with pytest.raises(Unprocessable):
            delivering.complete(house, token, name)
        (second,) = delivering.sign_parts(house, token, name, [2])
        with pytest.raises(Refused):
            store.put(second.request, body)
        store.put(second.request, body[32 * 10**6 :])
        for _ in range(2):
            assert delivering.complete(house, token, name).state == "delivered"
        assert unclaimed.unclaimed_files(house, ALICE, group_id)[0].size == len(body)
        for numbers in ([0], [3], [], list(range(1, 102))):
            with pytest.raises((BadRequest, Conflict)):
                delivering.sign_parts(house, token, name, numbers)

    def test_no_fault_tells_the_files_id(self, house: House) -> None:
        house, group_id = prepared(house)
        urls = house.settings.urls.model_copy(update={"multipart_allowed_from": 1})
        house = replace(house, settings=house.settings.model_copy(update={"urls": urls}))
        _, token = link_of(house, group_id)
        name = announcing.announce(house, token, WantedFile("a.fq", 9), in_parts=True).object_name
        with pytest.raises(Unprocessable, match=f"Parts of file {name} are missing"):
            delivering.complete(house, token, name)
        with house.sessions.begin() as session:  # the object is there, and nobody has looked yet
            session.get_one(UploadedFile, upload_of(house, name).id).multipart_completed = True
        with pytest.raises(Conflict, match=f"^File {name} is complete already"):
            delivering.sign_parts(house, token, name, [1])

    def test_what_did_not_come_in_time_is_no_file_and_never_delivered(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id, days=90)
        late, came = announced(house, token, BODY).object_name, delivered(house, token, BODY)
        arrivals.sweep(house)
        let_pass(house, 25 * HOUR)
        for _ in range(2):
            for call in (delivering.progress, delivering.sign_again, delivering.complete):
                with pytest.raises(NotFound, match=delivering.NO_FILE):
                    call(house, token, late)
            assert delivering.progress(house, token, came).state == "delivered"
            arrivals.sweep(house)
        with pytest.raises(Conflict):
            delivering.sign_again(house, token, came)

    def test_another_size_than_was_signed_is_no_delivery(self, house: House) -> None:
        """Where a provider doesn't enforce what it signed."""
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        name = announced(house, token, BODY).object_name
        assert isinstance(house.store, MemoryStore)
        house.store.write(upload_of(house, name).key, BODY * 1000)
        arrivals.sweep(house)
        assert dropped(house, name).state == DISCARDED
        assert unclaimed.unclaimed_files(house, ALICE, group_id) == []

    def test_another_links_file_is_none(self, house: House) -> None:
        house, group_id = prepared(house)
        (_, token), (_, other) = link_of(house, group_id), link_of(house, group_id)
        name = delivered(house, token, BODY)
        ticket = announced(house, token, BODY, "r2.fastq")
        for each in (name, ticket.object_name, "a" * 26, "../" + name, ""):
            for call in (delivering.progress, delivering.sign_again, delivering.complete):
                with pytest.raises(NotFound, match=delivering.NO_FILE):
                    call(house, other, each)

    def test_hostile_names_are_refused_and_never_part_of_a_key(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        for name in HOSTILE:
            for call in (
                lambda name=name: announcing.announce(house, token, WantedFile(name, 4)),
                lambda name=name: forms.announce_form(house, token, name),
            ):
                with pytest.raises(BadRequest):
                    call()
        assert isinstance(house.store, MemoryStore)
        assert not {"sign_put", "sign_form"} & set(house.store.calls)

    def test_names_that_are_odd_and_allowed_stay_labels(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id)
        for name in ("=cmd().fastq", "-rf.fastq", "'i'", "~", "Ü.fq"):
            ticket = announced(house, token, BODY, name)
            assert upload_of(house, ticket.object_name).key == f"incoming/drop-{link_id}/{ticket.object_name}"
            assert dropped(house, ticket.object_name).label == name

    def test_what_the_link_is_not_for(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id, categories=("rawReads",), formats=(FileFormat.FASTQ,))
        for wanted, fault in (
            (WantedFile("a.bam", 4), Unprocessable),
            (WantedFile("a.txt", 4), Unprocessable),
            (WantedFile("a.fq", 4, category="alignment"), Unprocessable),
            (WantedFile("a.fq", 0), BadRequest),
            (WantedFile("a.fq", -1), BadRequest),
            (WantedFile("a.fq", 4, "no hash"), BadRequest),
            (WantedFile("a.fq", 10**12), TooLarge),
        ):
            with pytest.raises(fault):
                announcing.announce(house, token, wanted)
        name = announcing.announce(house, token, WantedFile("a.fq.gz", 4)).object_name
        assert dropped(house, name).category == "rawReads"

    def test_when_s3_is_away_nothing_stays_reserved(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id)
        assert isinstance(house.store, MemoryStore)
        house.store.down = True
        for call in (
            lambda: announced(house, token, BODY),
            lambda: forms.announce_form(house, token, "a.fq"),
            lambda: announcing.announce(house, token, WantedFile("a.bam", 20 * 10**6), in_parts=True),
        ):
            with pytest.raises(StoreUnavailable):
                call()
        assert used(house, link_id) == (0, 0)
        assert unclaimed.unclaimed_files(house, ALICE, group_id) == []


class TestHowMuch:
    def test_a_links_bytes_and_files(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id, bytes_quota=100, objects_quota=3)
        announcing.announce(house, token, WantedFile("a.fq", 60))
        with pytest.raises(TooLarge, match="bytes") as full:
            announcing.announce(house, token, WantedFile("b.fq", 41))
        assert full.value.hit is None
        announcing.announce(house, token, WantedFile("b.fq", 30))
        announcing.announce(house, token, WantedFile("c.fq", 10))
        with pytest.raises(TooLarge, match="files"):
            announcing.announce(house, token, WantedFile("d.fq", 1))

    def test_a_full_group_tells_a_holder_no_figures(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        full = with_limits(house, bytes_per_group=100)
        announcing.announce(full, token, WantedFile("a.fq", 90))
        with pytest.raises(TooLarge) as caught:
            announcing.announce(full, token, WantedFile("a.fq", 11))
        assert caught.value.hit is None
        assert not any(character.isdigit() for character in str(caught.value))

    def test_open_files_and_open_multiparts(self, house: House) -> None:
        house, group_id = prepared(house, open_files_per_link=3, open_multiparts_per_link=1)
        _, token = link_of(house, group_id)
        big = WantedFile("a.bam", 20 * 10**6)
        announcing.announce(house, token, big, in_parts=True)
        with pytest.raises(TooMany):
            announcing.announce(house, token, big, in_parts=True)
        name = delivered(house, token, BODY)
        announced(house, token, BODY)
        with pytest.raises(TooMany):
            announced(house, token, BODY)
        delivering.complete(house, token, name)
        announced(house, token, BODY)

    def test_what_never_came_is_given_back(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id, days=90)
        came, stayed_away = delivered(house, token, BODY), announced(house, token, BODY).object_name
        forms.announce_form(house, token, "a.fq", max_bytes=1000)
        assert used(house, link_id) == (2 * len(BODY) + 1000, 3)
        arrivals.sweep(house)
        let_pass(house, 25 * HOUR)
        for _ in range(2):
            arrivals.sweep(house)
        assert used(house, link_id) == (len(BODY), 1)
        assert [dropped(house, each).state for each in (came, stayed_away)] == [UNCLAIMED, EXPIRED]

    def test_what_came_in_time_is_kept_though_nobody_looked_for_days(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id, days=90)
        name = delivered(house, token, BODY)
        let_pass(house, 3 * DAY)
        arrivals.sweep(house)
        assert (dropped(house, name).state, used(house, link_id)) == (UNCLAIMED, (len(BODY), 1))
        assert send(house, group_id, {**ROW, "files.rawReads": f"drop:{name}"})[0] is not None

    def test_the_unclaimed_expire_and_free_the_group_but_not_the_link(self, house: House) -> None:
        house, group_id = prepared(house, unclaimed_days=30)
        house = with_limits(house, bytes_per_group=len(BODY))
        link_id, token = link_of(house, group_id, days=90)
        name = delivered(house, token, BODY)
        arrivals.sweep(house)
        let_pass(house, 29 * DAY)
        with pytest.raises(TooLarge):
            announced(house, token, BODY)
        let_pass(house, 2 * DAY)
        arrivals.sweep(house)
        assert dropped(house, name).state == EXPIRED
        assert used(house, link_id) == (len(BODY), 1)
        announced(house, token, BODY)
        assert unclaimed.unclaimed_files(house, ALICE, group_id) == []

    @pytest.mark.parametrize("which", ["link bytes", "link files", "group"])
    def test_races_take_exactly_what_fits(self, house: House, which: str) -> None:
        house, group_id = prepared(house, open_files_per_link=10_000)
        fits = RACES // 3
        wish = {"link bytes": {"bytes_quota": 10 * fits + 9}, "link files": {"objects_quota": fits}}.get(which, {})
        if which == "group":
            house = with_limits(house, bytes_per_group=10 * fits + 9)
        link_id, token = link_of(house, group_id, **wish)
        outcomes: list[str] = []

        def announce_some() -> None:
            for _ in range(RACES // 8):
                try:
                    announcing.announce(house, token, WantedFile("a.fq", 10))
                    outcomes.append("taken")
                except TooLarge:
                    outcomes.append("full")

        threads = [threading.Thread(target=announce_some) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (outcomes.count("taken"), len(outcomes)) == (fits, RACES // 8 * 8)
        assert used(house, link_id) == (10 * fits, fits)
        with house.sessions.read() as session:
            assert session.exec(select(func.count()).select_from(DroppedFile)).one() == fits

    def test_nothing_is_announced_after_a_revocation_that_races(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id)
        started, late = threading.Event(), list[str]()
        revoked = threading.Event()

        def announce_on() -> None:
            for number in range(200):
                before = revoked.is_set()
                try:
                    announced(house, token, BODY)
                except NotFound:
                    return
                if before:
                    late.append(str(number))
                started.set()

        threads = [threading.Thread(target=announce_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        started.wait(10)
        links.revoke_link(house, ALICE, link_id, group_id)
        revoked.set()
        for thread in threads:
            thread.join()
        assert late == []


class TestForms:
    def test_the_first_version_counts_and_later_ones_are_charged_and_deleted(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id, days=90)
        ticket = forms.announce_form(house, token, "a.fastq", max_bytes=1000)
        store = house.store
        assert isinstance(store, MemoryStore)
        for wrong in (b"", b"x" * 1001):
            with pytest.raises(Refused):
                store.post(ticket.form, wrong)
        store.post(ticket.form, BODY)
        arrivals.sweep(house)
        assert used(house, link_id) == (len(BODY), 1)
        for evil in (b"evil", b"much more evil"):
            store.post(ticket.form, evil)
        for _ in range(2):
            arrivals.sweep(house)
        assert used(house, link_id) == (len(BODY) + 18, 1)
        ((key, versions),) = store.versions.items()
        assert [data for _, data in versions] == [BODY]
        store.post(ticket.form, b"later")
        let_pass(house, 25 * HOUR)
        arrivals.sweep(house)
        assert used(house, link_id) == (len(BODY) + 23, 1)
        assert dropped(house, ticket.object_name).settle_until is None
        (accession,) = send(house, group_id, {**ROW, "files.rawReads": f"drop:{ticket.object_name}"})
        assert accession is not None
        sealed = upload_of(house, ticket.object_name)
        assert (sealed.key, sealed.version_id, sealed.size) == (key, versions[0][0], len(BODY))

    def test_a_version_over_the_first_one_is_never_sealed(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        ticket = forms.announce_form(house, token, "a.fastq", max_bytes=1000)
        store = house.store
        assert isinstance(store, MemoryStore)
        for body in (BODY, b"evil"):
            store.post(ticket.form, body)
        send(house, group_id, {**ROW, "files.rawReads": f"drop:{ticket.object_name}"})
        sealed = upload_of(house, ticket.object_name)
        assert sealed.size == len(BODY)
        assert sealed.version_id == store.versions[sealed.key][0][0]
        arrivals.sweep(house)
        # Sealed: the rest is for the collection of garbage, which knows what repairs need.
        assert len(store.versions[sealed.key]) == 2

    def test_several_that_sweep_charge_once(self, house: House) -> None:
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id)
        ticket = forms.announce_form(house, token, "a.fastq", max_bytes=1000)
        assert isinstance(house.store, MemoryStore)
        for body in (BODY, b"evil", b"evil too"):
            house.store.post(ticket.form, body)
        threads = [threading.Thread(target=arrivals.sweep, args=(house,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        arrivals.sweep(house)
        assert used(house, link_id) == (len(BODY) + 12, 1)

    def test_who_notices_and_who_expires_wait_in_one_order(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of two files of one link the first one is in time: who notices both meets who ends the second one alone."""
        house, group_id = prepared(house)
        link_id, token = link_of(house, group_id)
        tickets = [forms.announce_form(house, token, "a.fastq", max_bytes=1000) for _ in range(2)]
        first, second = sorted(tickets, key=lambda each: each.object_name)
        assert isinstance(house.store, MemoryStore)
        for ticket in tickets:
            house.store.post(ticket.form, BODY)
        with house.sessions.begin() as session:
            late = session.get_one(DroppedFile, second.object_name).file_id
            session.get_one(UploadedFile, late).expires_at = 1.0
        real, failed = announcing.charge, list[Exception]()

        def slowly(session: Session, link: str, size: int, objects: int = 0) -> None:
            real(session, link, size, objects)
            time.sleep(0.3)  # so long that the other one stands at its first lock

        monkeypatch.setattr(arrivals, "charge", slowly)

        def done(what: Callable[[House], int]) -> None:
            try:
                what(house)
            except Exception as fault:
                failed.append(fault)

        begun = [lambda each: arrivals.notice(each, late=True), arrivals.expire]
        threads = [threading.Thread(target=done, args=(what,)) for what in begun]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        assert failed == []
        assert dropped(house, first.object_name).state == UNCLAIMED
        assert dropped(house, second.object_name).state in (UNCLAIMED, EXPIRED)
        is_there = dropped(house, second.object_name).state == UNCLAIMED
        assert used(house, link_id) == ((2 * len(BODY), 2) if is_there else (len(BODY), 1))

    def test_bounds(self, house: House) -> None:
        house, group_id = prepared(house, form_bytes=1000)
        _, token = link_of(house, group_id)
        for most in (0, 1001):
            with pytest.raises(BadRequest):
                forms.announce_form(house, token, "a.fq", max_bytes=most)
        ticket = forms.announce_form(house, token, "a.fq")
        assert ticket.max_bytes == 1000
        with pytest.raises(BadRequest):
            delivering.sign_again(house, token, ticket.object_name)


class TestClaiming:
    def test_named_in_metadata_it_becomes_part_of_an_entry_once(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        first, second = (delivered(house, token, BODY + bytes([n]), f"r{n}.fastq") for n in (1, 2))
        row = {**ROW, "files.rawReads": f"drop:{first} mate.fastq:drop:{second}"}
        send(house, group_id, row, dry_run=True)
        assert dropped(house, first).state == UNCLAIMED
        (accession,) = send(house, group_id, row)
        assert [dropped(house, each).state for each in (first, second)] == [CLAIMED, CLAIMED]
        assert upload_of(house, first).sealed_at is not None
        assert unclaimed.unclaimed_files(house, ALICE, group_id) == []
        with pytest.raises(Unprocessable, match=f"The following file IDs do not exist: drop:{first}, drop:{second}"):
            send(house, group_id, {**row, "id": "s2"})
        with pytest.raises(Conflict):
            unclaimed.discard(house, ALICE, group_id, first)
        with house.sessions.read() as session:
            query = select(EntryFile.name).where(EntryFile.accession == accession).order_by(col(EntryFile.position))
            assert session.exec(query).all() == ["r1.fastq", "mate.fastq"]

    def test_foreign_unknown_discarded_and_expired_ones_get_one_answer(self, house: House) -> None:
        house, group_id = prepared(house)
        with_account(house, BOB)
        theirs = group_of(house, BOB)
        _, foreign_token = link_of(house, theirs, BOB)
        _, token = link_of(house, group_id)
        foreign, discarded = delivered(house, foreign_token, BODY), delivered(house, token, BODY)
        missing = announced(house, token, BODY).object_name
        unclaimed.discard(house, ALICE, group_id, discarded)
        texts = set()
        for name in (foreign, discarded, missing, "a" * 26):
            with pytest.raises(Unprocessable) as caught:
                send(house, group_id, {**ROW, "files.rawReads": f"drop:{name}"})
            texts.add(str(caught.value).replace(name, "…"))
        assert texts == {"The following file IDs do not exist: drop:…"}
        with pytest.raises(NotFound):
            unclaimed.discard(house, ALICE, group_id, foreign)
        assert dropped(house, foreign).state == OPEN

    def test_rules_of_the_link_and_of_the_category(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id, categories=("rawReads",))
        name = delivered(house, token, BODY)
        with pytest.raises(Unprocessable, match="its link is for rawReads"):
            send(house, group_id, {**ROW, "files.alignment": f"drop:{name}"})
        twice = [{**ROW, "id": each, "files.rawReads": f"drop:{name}"} for each in ("s1", "s2")]
        with pytest.raises(Unprocessable, match="is named more than once"):
            send(house, group_id, *twice)
        assert dropped(house, name).state == UNCLAIMED

    def test_cells_may_stand_in_quotes(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        first, second, third = (delivered(house, token, BODY + bytes([n]), f"r{n}.fastq") for n in range(3))
        send(house, group_id, {**ROW, "files.rawReads": f'"drop:{first} drop:{second}"'})
        send(house, group_id, {**ROW, "files.rawReads": f'"mate.fastq:drop:{third}"'})
        assert {dropped(house, each).state for each in (first, second, third)} == {CLAIMED}

    def test_a_file_called_drop_is_still_a_file(self, house: House) -> None:
        house, group_id = prepared(house)
        (file_id,) = upload(house, ALICE, group_id, BODY)
        assert send(house, group_id, {**ROW, "files.rawReads": f"drop:{file_id}"})[0] is not None

    def test_in_a_revision(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        name = delivered(house, token, BODY)
        row = {**ROW, "accession": life.released(house, group_id).accession, "files.rawReads": f"drop:{name}"}
        life.revised(house, row)
        assert dropped(house, name).state == CLAIMED
        with pytest.raises(Unprocessable, match=f"do not exist: drop:{name}"):
            life.revised(house, {**row, "accession": life.released(house, group_id).accession})

    def test_in_an_edit(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        _, narrow = link_of(house, group_id, categories=("alignment",))
        with_account(house, BOB)
        _, foreign = link_of(house, group_of(house, BOB), BOB)
        name, _ = scenes.processed(house, group_id)
        good, unfit, theirs = (
            delivered(house, each, BODY + bytes([n])) for n, each in enumerate((token, narrow, foreign))
        )

        def edited(*object_names: str, category: str = "rawReads") -> None:
            listed = [NamedFile(f"mate{n}.fastq", f"drop:{each}") for n, each in enumerate(object_names)]
            edit(house, ALICE, scenes.ORGANISM, name, EditedData(dict(life.METADATA), {}, {category: listed}))

        for object_names, told in (
            ((good, unfit), f"'drop:{unfit}' can't be here: its link is for alignment"),
            ((good, theirs), f"do not exist: drop:{theirs}"),
            ((good, "a" * 26), f"do not exist: drop:{'a' * 26}"),
        ):
            with pytest.raises(Unprocessable, match=told):
                edited(*object_names)
        with pytest.raises(Unprocessable, match="nothing is not part of"):
            edited(good, category="nothing")
        assert dropped(house, good).state == UNCLAIMED
        edited(good)
        assert dropped(house, good).state == CLAIMED
        assert life.files_of(house, name) == {"rawReads": [("mate0.fastq", dropped(house, good).file_id)]}
        assert upload_of(house, good).sealed_at is not None
        other, _ = scenes.processed(house, group_id)
        again = {"rawReads": [NamedFile("r.fastq", f"drop:{good}")]}
        with pytest.raises(Unprocessable, match=f"do not exist: drop:{good}"):
            edit(house, ALICE, scenes.ORGANISM, other, EditedData(dict(life.METADATA), {}, again))

    def test_two_submissions_that_race_for_one_file(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        names = [delivered(house, token, BODY + bytes([n]), "r.fastq") for n in range(4)]
        won: list[int] = []

        def race(which: int) -> None:
            cell = " ".join(f"r{n}:drop:{each}" for n, each in enumerate(names))
            row = {**ROW, "id": f"s{which}", "files.rawReads": cell}
            try:
                send(house, group_id, row)
                won.append(which)
            except Unprocessable as lost:
                assert "do not exist: drop:" in str(lost)  # noqa: PT017

        threads = [threading.Thread(target=race, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


class TestDiscarding:
    def test_it_frees_the_group_and_goes_as_garbage(self, house: House) -> None:
        house, group_id = prepared(house)
        house = with_limits(house, bytes_per_group=len(BODY))
        _, token = link_of(house, group_id)
        name = delivered(house, token, BODY)
        unclaimed.discard(house, ALICE, group_id, name)
        assert dropped(house, name).state == DISCARDED
        announced(house, token, BODY)
        with pytest.raises(NotFound):
            delivering.sign_again(house, token, name)
        let_pass(house, 30 * DAY)
        waits = house.settings.storage.model_copy(update={"garbage_waits_hours": 1e-9})
        soon = replace(house, settings=house.settings.model_copy(update={"storage": waits}))
        for _ in range(2):
            collection.collect(soon, dry_run=False)
        assert isinstance(house.store, MemoryStore)
        assert house.store.versions == {}

    def test_rows_of_what_ended_are_forgotten_in_the_end(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        name = delivered(house, token, BODY)
        unclaimed.discard(house, ALICE, group_id, name)
        let_pass(house, 91 * DAY)
        arrivals.sweep(house)
        with house.sessions.read() as session:
            assert session.get(DroppedFile, name) is None


class TestForgettingNames:
    def test_an_erasure_forgets_what_the_sender_called_it(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        name, other = (delivered(house, token, BODY + bytes([n]), "Max_Muster.fastq") for n in range(2))
        (accession,) = send(house, group_id, {**ROW, "files.rawReads": f"drop:{name}"})
        send(house, group_id, {**ROW, "id": "s2", "files.rawReads": f"drop:{other}"})
        asked, _ = erasure.request(house, MAINTAINER, [AccessionVersion(str(accession), 1)], "consent")
        assert asked.id is not None
        second = Actor("other-maintainer", MAINTAINER.roles)
        erasure.confirm(house, second, asked.id, objects=asked.objects, code=asked.code)
        assert [dropped(house, each).label for each in (name, other)] == ["erased", "Max_Muster.fastq"]

    def test_the_row_of_a_file_whose_entry_was_deleted_goes_in_the_end(self, house: House) -> None:
        house, group_id = prepared(house)
        _, token = link_of(house, group_id)
        gone, kept = (delivered(house, token, BODY + bytes([n])) for n in range(2))
        for name in (gone, kept):
            send(house, group_id, {**ROW, "id": name, "files.rawReads": f"drop:{name}"})
        with house.sessions.begin() as session:  # as the collection of garbage does, once no entry has it
            session.execute(delete(EntryFile).where(col(EntryFile.file_id) == upload_of(house, gone).id))
            session.delete(session.get_one(UploadedFile, upload_of(house, gone).id))
        let_pass(house, 91 * DAY)
        arrivals.sweep(house)
        with house.sessions.read() as session:
            assert session.exec(select(DroppedFile.object_name)).all() == [kept]


def test_pages_of_unclaimed_files(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house, group_id = prepared(house)
    _, token = link_of(house, group_id)
    names = sorted(delivered(house, token, BODY + bytes([n])) for n in range(20))
    monkeypatch.setattr(unclaimed, "PAGE", 7)
    monkeypatch.setattr(arrivals, "PAGE", 6)
    found, after = [], ""
    while page := unclaimed.unclaimed_files(house, ALICE, group_id, after):
        found += [each.object_name for each in page]
        after = page[-1].object_name
    assert found == names


def test_recovery_notices_what_arrived(house: House) -> None:
    house, group_id = prepared(house)
    _, token = link_of(house, group_id)
    name = delivered(house, token, BODY)
    assert recovery.recover(house, lambda: 0, lambda: None)["drop links"] == 1
    assert dropped(house, name).state == UNCLAIMED


def test_read_only_shows_what_was_known(house: House) -> None:
    house, group_id = prepared(house)
    _, token = link_of(house, group_id)
    name = delivered(house, token, BODY)
    shown = replace(house, settings=house.settings.model_copy(update={"read_only_mode": True}))
    assert unclaimed.unclaimed_files(shown, ALICE, group_id) == []
    assert [each.object_name for each in unclaimed.unclaimed_files(house, ALICE, group_id)] == [name]


def test_links_of_all_groups_are_for_maintainers(house: House) -> None:
    house, group_id = prepared(house)
    link_id, _ = link_of(house, group_id)
    assert [each.id for each in links.every_link(house, MAINTAINER)] == [link_id]
    for call in (lambda: links.every_link(house, ALICE), lambda: links.revoke_link(house, ALICE, link_id)):
        with pytest.raises(Forbidden):
            call()
    links.revoke_link(house, MAINTAINER, link_id)
    assert links.every_link(house, MAINTAINER) == []
    assert len(links.every_link(house, MAINTAINER, only_open=False)) == 1


def test_with_links_leaves_the_others_off(house: House) -> None:
    assert not house.settings.drop_links.enabled
    assert with_links(house).settings.drop_links.enabled
