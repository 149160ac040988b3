"""Uploads that are asked for again, signed anew, cut at the client's rate and put together by what S3 has."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import func, select

from readvault.config import UrlSettings
from readvault.db import clock
from readvault.db.tables import Job, UploadedFile
from readvault.domain.actor import PIPELINE_ROLE, Actor
from readvault.domain.errors import BadRequest, Conflict, Forbidden, NotFound, ProcessingFailure, Unprocessable
from readvault.domain.status import JobKind, JobState
from readvault.services.house import House
from readvault.services.uploads import file_states, multipart, upload_requests
from readvault.services.uploads.answers import UploadAnswer, WantedFile
from readvault.services.uploads.upload_requests import Cutting
from tests.fakes import MemoryStore, Refused
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, group_of, upload
from tests.integration.services import scenes

MIB = 2**20
DATA = bytes(range(256)) * (12 * MIB // 256)
IN_PARTS = Cutting(multipart=True)


@pytest.fixture
def group_id(house: House) -> int:
    return group_of(house, ALICE)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wanted(data: bytes) -> WantedFile:
    return WantedFile("r.fq", len(data), sha256(data))


def small_parts(house: House) -> House:
    urls = UrlSettings(multipart_from=11 * MIB, multipart_allowed_from=6 * MIB, part_size=5 * MIB)
    return replace(house, settings=house.settings.model_copy(update={"urls": urls}))


def ask(house: House, group_id: int, *files: bytes, key: str | None = "key", **how: Any) -> list[UploadAnswer]:
    return upload_requests.request_uploads(house, ALICE, group_id, [wanted(each) for each in files], key=key, **how)


def file_count(house: House) -> int:
    with house.sessions.read() as session:
        return session.exec(select(func.count()).select_from(UploadedFile)).one()


class TestWithAKey:
    """A request that is sent again reserves nothing again."""

    def test_the_same_files_signed_anew(self, house: House, store: MemoryStore, group_id: int) -> None:
        house = small_parts(house)
        first = ask(house, group_id, DATA, b"small")
        second = ask(house, group_id, DATA, b"small")
        assert [each.file_id for each in first] == [each.file_id for each in second]
        assert file_count(house) == 2
        assert len(store.uploads) == 1
        assert first[1].put != second[1].put
        assert first[0].multipart is not None
        assert second[0].multipart is not None
        parts = [DATA[start : start + 5 * MIB] for start in range(0, len(DATA), 5 * MIB)]
        for signed, part in zip(second[0].multipart.parts, parts, strict=True):
            store.put(signed.request, part)
        multipart.complete(house, ALICE, first[0].file_id)
        assert ask(house, group_id, DATA, b"small")[0].already_yours

    def test_loculus_requests_too(self, house: House, group_id: int) -> None:
        def both() -> list[str]:
            single = upload_requests.request_upload(house, ALICE, group_id, 2, key="single")
            parts = upload_requests.request_multipart_upload(house, ALICE, group_id, 1, 3, key="parts")
            assert parts[0].multipart is not None
            assert len(parts[0].multipart.parts) == 3
            return [each.file_id for each in (*single, *parts)]

        assert both() == both()
        assert file_count(house) == 3
        with pytest.raises(Unprocessable, match="used for another request"):
            upload_requests.request_upload(house, ALICE, group_id, 3, key="single")

    def test_another_request_needs_another_key(self, house: House, group_id: int) -> None:
        ask(house, group_id, b"one")
        for body, cutting in ((b"two", Cutting()), (b"one", IN_PARTS)):
            with pytest.raises(Unprocessable, match="used for another request"):
                ask(house, group_id, body, cutting=cutting)

    def test_racing_twins_get_the_same_files(self, house: House, store: MemoryStore, group_id: int) -> None:
        house = small_parts(house)
        answers: list[str] = []
        together = threading.Barrier(4)

        def send() -> None:
            together.wait()
            answers.append(ask(house, group_id, DATA)[0].file_id)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 4
        assert len(set(answers)) == 1
        assert file_count(house) == 1
        assert len(store.uploads) == 1

    def test_a_request_that_failed_is_done_anew(self, house: House, store: MemoryStore, group_id: int) -> None:
        store.down = True
        with pytest.raises(ProcessingFailure):
            ask(house, group_id, b"one")
        store.down = False
        (answer,) = ask(house, group_id, b"one")
        assert answer.put is not None
        store.put(answer.put, b"one")

    def test_what_was_given_up_stays_so(self, house: House, group_id: int) -> None:
        (answer,) = ask(house, group_id, b"one")
        file_states.abort(house, ALICE, answer.file_id)
        with pytest.raises(Conflict, match="Request them with a new key"):
            ask(house, group_id, b"one")

    def test_a_key_opens_nothing_to_who_may_no_longer(self, house: House, group_id: int) -> None:
        ask(house, group_id, b"one")
        with pytest.raises(Forbidden):
            upload_requests.request_uploads(house, BOB, group_id, [wanted(b"one")], key="key")


class TestPartSizes:
    """A part takes about 15 seconds."""

    @pytest.mark.parametrize(
        ("rate", "part_size"),
        [(None, 32 * 10**6), (1.0, 5 * MIB), (10**6, 15 * 10**6), (4 * 10**6, 60 * 10**6), (10**9, 64 * 10**6)],
    )
    def test_by_the_stated_rate(self, house: House, group_id: int, rate: float | None, part_size: int) -> None:
        cutting = Cutting(multipart=True, bytes_per_second=rate)
        (answer,) = upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("f", 10**9)], cutting=cutting)
        assert answer.multipart is not None
        assert answer.multipart.part_size == part_size
        assert answer.multipart.part_count == -(-(10**9) // part_size)

    @pytest.mark.parametrize("size", [10**9, 10**12, 5 * 10**12])
    def test_never_more_than_ten_thousand(self, house: House, size: int) -> None:
        part_size = multipart.part_size_for(house, size, 1.0)
        assert -(-size // part_size) <= 10_000

    def test_an_answer_for_many_files_signs_few_parts_of_each(self, house: House, group_id: int) -> None:
        files = [WantedFile(f"f{n}", 200 * 10**6) for n in range(500)]
        cutting = Cutting(multipart=True, bytes_per_second=1.0)
        answers = upload_requests.request_uploads(house, ALICE, group_id, files, cutting=cutting)
        plans = [answer.multipart for answer in answers if answer.multipart is not None]
        assert [len(plan.parts) for plan in plans] == [2] * 500
        assert {plan.part_count for plan in plans} == {39}


class TestPartHashes:
    """Who tells each part's hash has S3 look at it."""

    HASHED = Cutting(multipart=True, part_hashes=True)

    def test_parts_are_signed_when_their_hash_is_known(self, house: House, store: MemoryStore, group_id: int) -> None:
        house = small_parts(house)
        (answer,) = ask(house, group_id, DATA, cutting=self.HASHED)
        assert answer.multipart is not None
        assert (answer.multipart.parts, answer.multipart.part_count) == ((), 3)
        parts = {number: DATA[(number - 1) * 5 * MIB : number * 5 * MIB] for number in (1, 2, 3)}
        hashes = {number: sha256(part) for number, part in parts.items()}
        signed = multipart.sign_parts(house, ALICE, answer.file_id, [1, 2, 3], hashes)
        with pytest.raises(Refused, match="400"):
            store.put(signed[0].request, bytes(5 * MIB))
        for each in signed:
            store.put(each.request, parts[each.number])
        store.lists_checksums = False
        with pytest.raises(Unprocessable, match="part 1 needs its SHA-256"):
            multipart.complete(house, ALICE, answer.file_id)
        with pytest.raises(BadRequest, match="64 hexadecimal"):
            multipart.complete(house, ALICE, answer.file_id, hashes=["0"])
        multipart.complete(house, ALICE, answer.file_id, hashes=list(hashes.values()))
        assert file_states.file_state(house, ALICE, answer.file_id).state == "completed"

    def test_a_promise_is_kept(self, house: House, group_id: int) -> None:
        house = small_parts(house)
        (answer,) = ask(house, group_id, DATA, cutting=self.HASHED)
        with pytest.raises(BadRequest, match="part 2 needs its SHA-256"):
            multipart.sign_parts(house, ALICE, answer.file_id, [1, 2], {1: "0" * 64})
        with pytest.raises(BadRequest, match="64 hexadecimal"):
            multipart.sign_parts(house, ALICE, answer.file_id, [1], {1: "0"})
        (other,) = ask(house, group_id, DATA, key=None)
        with pytest.raises(BadRequest, match="without part hashes"):
            multipart.sign_parts(house, ALICE, other.file_id, [1], {1: "0" * 64})


class TestCompleting:
    """What S3 has is put together."""

    def sent(self, house: House, store: MemoryStore, group_id: int, *numbers: int) -> str:
        (answer,) = ask(house, group_id, DATA)
        assert answer.multipart is not None
        for number in numbers:
            store.put(answer.multipart.parts[number - 1].request, DATA[(number - 1) * 5 * MIB : number * 5 * MIB])
        return answer.file_id

    def test_without_etags(self, house: House, store: MemoryStore, group_id: int) -> None:
        house = small_parts(house)
        file_id = self.sent(house, store, group_id, 2, 1, 3)
        for _ in range(2):  # its answer may have got lost
            multipart.complete(house, ALICE, file_id)
        ((_, data),) = next(iter(store.versions.values()))
        assert data == DATA

    @pytest.mark.parametrize("there", [(), (1, 2), (2, 3)])
    def test_missing_parts(self, house: House, store: MemoryStore, group_id: int, there: tuple[int, ...]) -> None:
        house = small_parts(house)
        file_id = self.sent(house, store, group_id, *there)
        with pytest.raises(Unprocessable, match=r"are there\.$|declared were"):
            multipart.complete(house, ALICE, file_id)
        assert store.versions == {}
        assert file_states.file_state(house, ALICE, file_id).state == "requested"

    def test_with_wrong_or_no_etags(self, house: House, store: MemoryStore, group_id: int) -> None:
        house = small_parts(house)
        file_id = self.sent(house, store, group_id, 1, 2, 3)
        with pytest.raises(Unprocessable, match="could not be found"):
            multipart.complete(house, ALICE, file_id, ["a", "b", "c"])
        with pytest.raises(Unprocessable, match="No etags"):
            multipart.complete(house, ALICE, file_id, [])

    def test_only_what_comes_in_parts_and_is_not_given_up(
        self, house: House, store: MemoryStore, group_id: int
    ) -> None:
        (single,) = upload(house, ALICE, group_id, b"x")
        with pytest.raises(BadRequest):
            multipart.complete(house, ALICE, single)
        house = small_parts(house)
        file_id = self.sent(house, store, group_id, 1, 2, 3)
        file_states.abort(house, ALICE, file_id)
        with pytest.raises(Conflict):
            multipart.complete(house, ALICE, file_id)

    def test_foreign_files_do_not_exist(self, house: House, store: MemoryStore, group_id: int) -> None:
        house = small_parts(house)
        file_id = self.sent(house, store, group_id, 1, 2, 3)
        for actor in (BOB, PIPELINE):
            with pytest.raises(NotFound):
                multipart.complete(house, actor, file_id)
        multipart.complete(house, MAINTAINER, file_id)


class TestSigningAgain:
    """A single PUT whose URL has expired goes on."""

    def test_it_is_the_same_key_and_still_only_once(self, house: House, store: MemoryStore, group_id: int) -> None:
        (answer,) = ask(house, group_id, b"reads")
        with house.sessions.begin() as session:
            session.get_one(UploadedFile, answer.file_id).expires_at -= 7200
        before = file_states.file_state(house, ALICE, answer.file_id)
        assert before.state == "requested"
        fresh = file_states.sign_again(house, ALICE, answer.file_id)
        with pytest.raises(Refused, match="403"):
            store.put(fresh, b"other reads")
        store.put(fresh, b"reads")
        with pytest.raises(Refused, match="412"):
            store.put(file_states.sign_again(house, ALICE, answer.file_id), b"reads")
        after = file_states.file_state(house, ALICE, answer.file_id)
        assert (after.state, after.size) == ("uploaded", 5)
        assert (after.expires_at or 0) > (before.expires_at or 0) + 7000

    def test_not_for_parts_nor_for_what_is_over(self, house: House, group_id: int) -> None:
        (single,) = ask(house, group_id, b"reads")
        file_states.abort(house, ALICE, single.file_id)
        with pytest.raises(Conflict):
            file_states.sign_again(house, ALICE, single.file_id)
        (parts,) = ask(small_parts(house), group_id, DATA, key=None)
        with pytest.raises(BadRequest):
            file_states.sign_again(house, ALICE, parts.file_id)
        with pytest.raises(NotFound):
            file_states.sign_again(house, BOB, parts.file_id)


class TestPipelines:
    """On our own paths a pipeline uploads for groups whose entry it is working on."""

    @staticmethod
    def at_work(house: House, group_id: int, actor: Actor = PIPELINE, seconds: float = 600) -> None:
        _, job_id = scenes.entry(house, group_id)
        with house.sessions.begin() as session:
            job = session.get_one(Job, job_id)
            job.kind, job.state = JobKind.EXTERNAL_PROCESSING.value, JobState.RUNNING.value
            job.lease_owner, job.lease_until = f"pipeline {actor.name}", clock.read(session) + seconds

    def ask(self, house: House, group_id: int) -> str:
        return upload_requests.request_uploads(house, PIPELINE, group_id, [wanted(b"made")])[0].file_id

    def test_not_without_a_claim(self, house: House, group_id: int) -> None:
        self.at_work(house, group_of(house, ALICE))
        self.at_work(house, group_id, Actor("another pipeline", frozenset({PIPELINE_ROLE})))
        self.at_work(house, group_id, seconds=-1)
        with pytest.raises(Forbidden, match="works on no entry of group"):
            self.ask(house, group_id)
        assert upload_requests.request_upload(house, PIPELINE, group_id), "Loculus's way asks for no claim"

    def test_with_a_claim_and_only_its_own_files(self, house: House, group_id: int) -> None:
        self.at_work(house, group_id)
        file_id = self.ask(house, group_id)
        assert file_states.file_state(house, PIPELINE, file_id).group_id == group_id
        (theirs,) = upload(house, ALICE, group_id, b"private")
        with pytest.raises(NotFound):
            file_states.file_state(house, PIPELINE, theirs)

    def test_no_limit_of_bytes_keeps_an_entry_from_being_finished(self, house: House, group_id: int) -> None:
        limits = house.settings.limits.model_copy(update={"bytes_per_group": 1, "bytes_per_window": 1})
        house = replace(house, settings=house.settings.model_copy(update={"limits": limits}))
        self.at_work(house, group_id)
        assert self.ask(house, group_id)
