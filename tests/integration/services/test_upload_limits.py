"""Limits: exact under races, told with their use and when they free, changed by maintainers for a reason."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import func, select

from readvault.config import LimitSettings
from readvault.db import clock
from readvault.db.tables import UploadedFile
from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Forbidden, NotFound, RuleViolation, TooLarge, TooMany
from readvault.services.house import House
from readvault.services.submission.new_entries import submit
from readvault.services.uploads import file_states, limits, upload_requests
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import Cutting
from tests.fakes import MemoryStore
from tests.houses import ALICE, BOB, MAINTAINER, group_of, tsv, upload
from tests.integration.services import scenes

RACES = int(os.environ.get("READVAULT_RACES", "160"))
"""How many reservations race; 12,800 for the full proof."""
GB = 10**9


def limited(house: House, **changes: Any) -> House:
    return replace(house, settings=house.settings.model_copy(update={"limits": LimitSettings(**changes)}))


def reserve(house: House, group_id: int, *sizes: int, actor: Actor = ALICE, **how: Any) -> list[str]:
    wanted = [WantedFile(f"f{number}", size) for number, size in enumerate(sizes)]
    return [each.file_id for each in upload_requests.request_uploads(house, actor, group_id, wanted, **how)]


def refusal(call: Callable[[], object], kind: type[RuleViolation]) -> RuleViolation:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.hit is not None
    return caught.value


def later(house: House, group_id: int) -> float:
    """Let the group's uploads have been requested two hours ago."""
    with house.sessions.begin() as session:
        for file in session.exec(select(UploadedFile).where(UploadedFile.group_id == group_id)):
            file.requested_at -= 7200
            file.expires_at -= 7200
        return clock.read(session)


class TestTold:
    """A refusal says the limit, the use and when the request would fit."""

    def test_total(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        reserve(house, group_id, 30)
        later(house, group_id)
        reserve(house, group_id, 30)
        hit = refusal(lambda: reserve(house, group_id, 41), TooLarge).hit
        assert hit is not None
        assert (hit.name, hit.limit, hit.used, hit.requested) == ("bytes per group", 100, 60, 41)
        assert hit.wait == pytest.approx(166 * 3600, abs=60)
        hit = refusal(lambda: reserve(house, group_id, 71), TooLarge).hit
        assert hit is not None
        assert hit.wait == pytest.approx(168 * 3600, abs=60), "both have to expire"
        hit = refusal(lambda: reserve(house, group_id, 101), TooLarge).hit
        assert hit is not None
        assert (hit.wait, hit.frees_at) == (None, None)

    def test_sealed_bytes_free_at_no_known_time(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        (file_id,) = upload(house, ALICE, group_id, b"x" * 60)
        _submit(house, group_id, file_id)
        fault = refusal(lambda: reserve(house, group_id, 60), TooLarge)
        assert "It frees when files are removed." in str(fault)
        assert fault.hit is not None
        assert fault.hit.frees_at is None

    @pytest.mark.parametrize("owner", ["group", "user"])
    def test_window(self, house: House, owner: str) -> None:
        setting = {"group": "bytes_per_window", "user": "bytes_per_window_of_user"}[owner]
        house, group_id = limited(house, **{setting: 100}, window_hours=24), group_of(house, ALICE)
        reserve(house, group_id, 50)
        later(house, group_id)
        reserve(house, group_id, 40)
        hit = refusal(lambda: reserve(house, group_id, 60), TooMany).hit
        assert hit is not None
        assert (hit.name, hit.used, hit.requested) == (f"bytes per {owner} and 24 hours", 90, 60)
        assert hit.wait == pytest.approx(22 * 3600, abs=60)
        hit = refusal(lambda: reserve(house, group_id, 61), TooMany).hit
        assert hit is not None
        assert hit.wait == pytest.approx(24 * 3600, abs=60)
        hit = refusal(lambda: reserve(house, group_id, 101), TooMany).hit
        assert hit is not None
        assert hit.wait is None

    @pytest.mark.parametrize("owner", ["group", "user"])
    def test_open_files(self, house: House, owner: str) -> None:
        house, group_id = limited(house, **{f"open_files_per_{owner}": 3}), group_of(house, ALICE)
        reserve(house, group_id, 1, 1)
        later(house, group_id)
        reserve(house, group_id, 1)
        hit = refusal(lambda: reserve(house, group_id, 1), TooMany).hit
        assert hit is not None
        assert (hit.name, hit.limit, hit.used, hit.requested) == (f"open files per {owner}", 3, 3, 1)
        assert hit.wait == pytest.approx(166 * 3600, abs=60)
        reserve(house, group_of(house, BOB), 1, actor=BOB)

    @pytest.mark.parametrize("owner", ["group", "user"])
    def test_open_multiparts(self, house: House, owner: str) -> None:
        house, group_id = limited(house, **{f"open_multiparts_per_{owner}": 2}), group_of(house, ALICE)
        how: dict[str, Any] = {"cutting": Cutting(multipart=True)}
        first, _ = reserve(house, group_id, 10**8, 10**8, **how)
        fault = refusal(lambda: reserve(house, group_id, 10**8, **how), TooMany)
        assert "may have 2 multipart uploads that are not completed yet; it has 2" in str(fault)
        with pytest.raises(TooMany):
            upload_requests.request_multipart_upload(house, ALICE, group_id)
        reserve(house, group_id, 1)
        file_states.abort(house, ALICE, first)
        reserve(house, group_id, 10**8, **how)


def _submit(house: House, group_id: int, *file_ids: str) -> None:
    cell = " ".join(f"r{number}.fq:{file_id}" for number, file_id in enumerate(file_ids))
    row = {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA", "files.rawReads": cell}
    submit(house, ALICE, "sars-cov-2", group_id=group_id, metadata=tsv(row), metadata_name="m.tsv")


@pytest.mark.parametrize(("setting", "text"), [("files_per_submission", "1 files; this one names 2"),
                                               ("bytes_per_submission", "1 bytes; these have 2")])  # fmt: skip
def test_one_submission(house: House, setting: str, text: str) -> None:
    house, group_id = limited(house, **{setting: 1}), group_of(house, ALICE)
    files = upload(house, ALICE, group_id, b"x", b"y")
    with pytest.raises(TooLarge, match=text):
        _submit(house, group_id, *files)
    _submit(house, group_id, files[0])


def test_what_our_store_could_not_sign_is_in_no_window(house: House, store: MemoryStore) -> None:
    house, group_id = limited(house, bytes_per_window=100), group_of(house, ALICE)
    store.down = True
    with pytest.raises(Exception, match="reached"):
        reserve(house, group_id, 100)
    store.down = False
    reserve(house, group_id, 100)


class TestDefaults:
    """The limits that come with readvault let a laboratory work."""

    def test_96_samples_a_week_for_a_year(self, house: House) -> None:
        """Pairs of 250 MB: a busy laboratory, of one user."""
        group_id, week = group_of(house, ALICE), [250 * 10**6] * (96 * 2)
        assert 52 * sum(week) < house.settings.limits.bytes_per_user
        for _ in range(4):  # even when four weeks are caught up with in one day
            reserve(house, group_id, *week, cutting=Cutting(multipart=True))

    def test_a_batch_of_a_thousand_files(self, house: House) -> None:
        assert len(reserve(house, group_of(house, ALICE), *[4 * GB] * 1000)) == 1000

    def test_a_thousand_files_in_parts(self, house: House) -> None:
        sizes = [50 * 10**6] * 1000
        assert len(reserve(house, group_of(house, ALICE), *sizes, cutting=Cutting(multipart=True))) == 1000


class TestMaintainers:
    """Maintainers see limits and change them, for a reason."""

    def test_another_limit_counts_at_once(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        scope = f"group:{group_id}"
        for reason, allowed, size in (("large study", 200, 150), ("it is over", None, 1)):
            override, use = limits.set_limits(house, MAINTAINER, scope, reason=reason, bytes_total=allowed)
            assert use.allowed.bytes_total == (allowed or 100)
            assert (override is None) == (allowed is None)
            if allowed is None:
                with pytest.raises(TooLarge, match="may store 100 bytes; 150 are used"):
                    reserve(house, group_id, size)
            else:
                reserve(house, group_id, size)
        log = [(row.actor, row.subject, row.details) for row in scenes.audit_log(house) if row.action == "set limits"]
        assert [(actor, subject, details["reason"]) for actor, subject, details in log] == [
            ("maintainer", scope, "large study"), ("maintainer", scope, "it is over")]  # fmt: skip
        assert log[1][2]["before"]["bytes_total"] == 200

    def test_a_user_and_the_other_limits(self, house: House) -> None:
        group_id = group_of(house, ALICE)
        limits.set_limits(house, MAINTAINER, "user:alice", reason="r", bytes_per_window=10, open_files=1)
        with pytest.raises(TooMany, match="The user may upload 10 bytes"):
            reserve(house, group_id, 11)
        reserve(house, group_id, 1)
        with pytest.raises(TooMany, match="The user may have 1 files"):
            reserve(house, group_id, 1)

    def test_members_see_their_own(self, house: House) -> None:
        group_id = group_of(house, ALICE)
        (file_id,) = upload(house, ALICE, group_id, b"x" * 60)
        _submit(house, group_id, file_id)
        reserve(house, group_id, 40, 10**8, cutting=Cutting(multipart=True))
        seen = limits.limits_of_group(house, ALICE, group_id)
        for use in (seen.group, seen.user):
            assert (use.sealed_bytes, use.reserved_bytes, use.window_bytes) == (60, 40 + 10**8, 100 + 10**8)
            assert (use.open_files, use.open_multiparts) == (2, 1)
        assert seen.bytes_per_file == {"rawReads": 20 * GB, "alignment": 20 * GB}
        with pytest.raises(Forbidden):
            limits.limits_of_group(house, BOB, group_id)
        assert limits.limits_of_group(house, MAINTAINER, group_id).user.scope == "user:maintainer"

    def test_all_that_differ_page_by_page(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "PAGE", 2)
        for name in "abc":
            limits.set_limits(house, MAINTAINER, f"user:{name}", reason="r", open_files=5)
        first = limits.overview(house, MAINTAINER)
        assert [override.scope for override, _ in first.overrides] == ["user:a", "user:b"]
        rest = limits.overview(house, MAINTAINER, after="user:b")
        assert [override.scope for override, _ in rest.overrides] == ["user:c"]
        override, use = limits.limits_of_scope(house, MAINTAINER, "user:c")
        assert override is not None
        assert (override.reason, use.allowed.open_files) == ("r", 5)

    @pytest.mark.parametrize(
        ("scope", "change", "kind"),
        [
            ("group:4711", {}, NotFound), ("group:x", {}, BadRequest), ("everybody", {}, BadRequest),
            ("user:a", {"reason": " "}, BadRequest), ("user:a", {"reason": "r" * 1001}, BadRequest),
            ("user:a", {"bytes_total": -1}, BadRequest), ("user:a", {"open_files": 2**31}, BadRequest),
        ],
    )  # fmt: skip
    def test_nonsense_is_refused(self, house: House, scope: str, change: Any, kind: type[Exception]) -> None:
        with pytest.raises(kind):
            limits.set_limits(house, MAINTAINER, scope, **{"reason": "r", "open_files": 1, **change})

    def test_nobody_else_may(self, house: House) -> None:
        group_of(house, ALICE)
        for call in (
            lambda: limits.set_limits(house, ALICE, "user:alice", reason="r", open_files=5),
            lambda: limits.limits_of_scope(house, ALICE, "user:alice"),
            lambda: limits.overview(house, ALICE),
        ):
            with pytest.raises(Forbidden):
                call()


@pytest.mark.timeout(300 + RACES)
def test_racing_reservations_end_exactly_at_the_sum(house: House) -> None:
    """Two users race for one group's limit; at any end nothing is over, and what was granted is what is used."""
    workers, share = 8, RACES // 8
    house = limited(house, bytes_per_group=RACES * 25, open_files_per_group=10**6, open_files_per_user=10**6)
    group_id = group_of(house, ALICE)
    granted: list[int] = []
    refused: list[tuple[int, int]] = []
    broken: list[BaseException] = []

    def race(seed: int) -> None:
        sizes = random.Random(seed)
        actor = (ALICE, MAINTAINER)[seed % 2]
        try:
            for _ in range(share):
                size = sizes.randint(1, 99)
                try:
                    reserve(house, group_id, size, actor=actor)
                    granted.append(size)
                except TooLarge as fault:
                    refused.append((size, fault.hit.used if fault.hit is not None else -1))
        except BaseException as fault:
            broken.append(fault)
            raise

    threads = [threading.Thread(target=race, args=(seed,)) for seed in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    limit = RACES * 25
    assert not broken
    assert len(granted) + len(refused) == workers * share
    assert sum(granted) <= limit
    assert all(used + size > limit for size, used in refused), "somebody was refused what would have fitted"
    with house.sessions.read() as session:
        stored = session.exec(select(func.sum(UploadedFile.declared_size))).one()
    assert stored == sum(granted)
    use = limits.limits_of_group(house, ALICE, group_id).group
    assert use.reserved_bytes == sum(granted)
    while (left := limit - limits.limits_of_group(house, ALICE, group_id).group.reserved_bytes) > 0:
        reserve(house, group_id, min(left, 99))
    with pytest.raises(TooLarge, match=f"may store {limit} bytes; {limit} are used and 1 more"):
        reserve(house, group_id, 1)
