"""Uploads: reserved exactly, written once, secret to others."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from readvault.config import LimitSettings, UrlSettings
from readvault.db.tables import UploadedFile
from readvault.domain.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    ProcessingFailure,
    RuleViolation,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unprocessable,
)
from readvault.services.house import House
from readvault.services.submission.new_entries import submit
from readvault.services.uploads import file_states, multipart, upload_requests
from readvault.services.uploads.answers import WantedFile
from readvault.services.uploads.upload_requests import Cutting
from tests.fakes import MemoryStore, Refused
from tests.houses import ALICE, BOB, MAINTAINER, PIPELINE, group_of, tsv, upload

MIB = 2**20
ROW = {"id": "s", "date": "2024-01-01", "platform": "ILLUMINA"}


def limited(house: House, **limits: Any) -> House:
    """The same house with other limits."""
    return replace(house, settings=house.settings.model_copy(update={"limits": LimitSettings(**limits)}))


def small_parts(house: House) -> House:
    """The same house where files from 6 MiB on may come in parts of 5 MiB, and above 11 MiB must."""
    urls = UrlSettings(multipart_from=11 * MIB, multipart_allowed_from=6 * MIB, part_size=5 * MIB)
    return replace(house, settings=house.settings.model_copy(update={"urls": urls}))


def submit_file(house: House, group_id: int, file_id: str) -> None:
    row = {**ROW, "files.rawReads": f"r.fq:{file_id}"}
    submit(house, ALICE, "sars-cov-2", group_id=group_id, metadata=tsv(row), metadata_name="m.tsv")


def fetched(house: House, file_id: str, sha256: str) -> None:
    """What the pipeline does: note the hash that it computed."""
    with house.sessions.begin() as session:
        session.get_one(UploadedFile, file_id).sha256 = sha256


def wanted(data: bytes, name: str = "r.fq") -> WantedFile:
    return WantedFile(name, len(data), hashlib.sha256(data).hexdigest())


def test_a_file_goes_to_a_key_of_ours_and_only_once(house: House, store: MemoryStore) -> None:
    group_id = group_of(house, ALICE)
    (answer,) = upload_requests.request_uploads(house, ALICE, group_id, [wanted(b"reads", "../../évil name.fq")])
    assert answer.put is not None
    store.put(answer.put, b"reads")
    (key,) = store.versions
    assert key.startswith("incoming/")
    assert key.endswith("/" + answer.file_id)
    assert key.isascii()
    with pytest.raises(Refused, match="412"):
        store.put(answer.put, b"reads")


def test_the_store_is_told_size_and_hash(house: House, store: MemoryStore) -> None:
    (answer,) = upload_requests.request_uploads(house, ALICE, group_of(house, ALICE), [wanted(b"reads")])
    assert answer.put is not None
    with pytest.raises(Refused, match="403"):
        store.put(answer.put, b"more reads")
    with pytest.raises(Refused, match="400"):
        store.put(answer.put, b"READS")


def test_the_way_of_loculus_declares_nothing(house: House, store: MemoryStore) -> None:
    first, second = upload_requests.request_upload(house, ALICE, group_of(house, ALICE), 2)
    assert first.put is not None
    assert second.put is not None
    assert first.put.headers == {"If-None-Match": "*"}
    store.put(first.put, b"any length")
    assert first.file_id != second.file_id
    assert first.file_id == first.file_id.lower()


@pytest.mark.parametrize(("actor", "error"), [(None, Unauthenticated), (BOB, Forbidden)])
def test_others_get_no_upload(house: House, actor: Any, error: type[Exception]) -> None:
    group_id = group_of(house, ALICE)
    with pytest.raises(error):
        upload_requests.request_uploads(house, actor, group_id, [wanted(b"x")])
    with pytest.raises(error):
        upload_requests.request_upload(house, actor, group_id)
    with pytest.raises(error):
        upload_requests.request_multipart_upload(house, actor, group_id)


def test_a_pipeline_uploads_for_any_group_and_for_no_other(house: House) -> None:
    assert len(upload_requests.request_upload(house, PIPELINE, group_of(house, ALICE))) == 1
    with pytest.raises(NotFound):
        upload_requests.request_upload(house, PIPELINE, 4711)


@pytest.mark.parametrize(
    "file",
    [
        WantedFile("a", -1),
        WantedFile("a", 1, "abc"),
        WantedFile("a", 1, "g" * 64),
        WantedFile("a", 1, content_type="text/html\r\nX-Evil: 1"),
    ],
)
def test_malformed_declarations_are_refused(house: House, file: WantedFile) -> None:
    with pytest.raises(BadRequest):
        upload_requests.request_uploads(house, ALICE, group_of(house, ALICE), [file])


def test_a_file_that_no_organism_would_take_is_refused_before_it_is_uploaded(house: House) -> None:
    with pytest.raises(TooLarge, match="a file may have 20000000000"):
        upload_requests.request_uploads(house, ALICE, group_of(house, ALICE), [WantedFile("a", 20 * 10**9 + 1)])


def test_a_request_has_a_limit_of_files_that_a_thousand_fit(house: House) -> None:
    group_id = group_of(house, ALICE)
    assert len(upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 10**6)] * 1000)) == 1000
    with pytest.raises(TooLarge, match="may ask for 1000 files; 1001"):
        upload_requests.request_upload(house, ALICE, group_id, 1001)
    with pytest.raises(BadRequest, match=r"^Number of files must be at least 1$"):
        upload_requests.request_upload(house, ALICE, group_id, 0)


class TestAlreadyYours:
    """Hashes reveal nothing and give nothing beyond the group."""

    @staticmethod
    def sealed(house: House) -> tuple[int, str]:
        group_id = group_of(house, ALICE)
        (file_id,) = upload(house, ALICE, group_id, b"reads")
        submit_file(house, group_id, file_id)
        return group_id, file_id

    def test_a_file_that_we_hashed_needs_no_second_upload(self, house: House) -> None:
        group_id, file_id = self.sealed(house)
        fetched(house, file_id, wanted(b"reads").sha256 or "")
        yours, other = upload_requests.request_uploads(house, ALICE, group_id, [wanted(b"reads"), wanted(b"other")])
        assert (yours.file_id, yours.already_yours, yours.put, yours.multipart) == (file_id, True, None, None)
        assert not other.already_yours
        assert other.put is not None

    def test_a_hash_that_was_only_declared_is_not_believed(self, house: House) -> None:
        group_id, _ = self.sealed(house)
        (answer,) = upload_requests.request_uploads(house, ALICE, group_id, [wanted(b"reads")])
        assert answer.put is not None

    def test_another_size_is_another_file(self, house: House) -> None:
        group_id, file_id = self.sealed(house)
        fetched(house, file_id, wanted(b"reads").sha256 or "")
        (answer,) = upload_requests.request_uploads(house, ALICE, group_id, [replace(wanted(b"reads"), size=6)])
        assert answer.put is not None

    def test_another_group_gets_what_it_gets_for_any_file(self, house: House) -> None:
        _, file_id = self.sealed(house)
        fetched(house, file_id, wanted(b"reads").sha256 or "")
        own = group_of(house, BOB)
        theirs, unknown = upload_requests.request_uploads(house, BOB, own, [wanted(b"reads"), wanted(b"READS")])
        for answer in (theirs, unknown):
            assert not answer.already_yours
            assert answer.put is not None
        assert theirs.file_id != file_id


class TestLimits:
    """Every limit says what it is, what is used and when it frees."""

    def test_bytes_of_a_group(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 60)])
        with pytest.raises(TooLarge, match=r"may store 100 bytes; 60 are used and 41 more .* It frees from 2"):
            upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 41)])
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 40)])

    def test_bytes_of_a_user_over_groups(self, house: House) -> None:
        house = limited(house, bytes_per_user=100)
        upload_requests.request_uploads(house, ALICE, group_of(house, ALICE), [WantedFile("a", 60)])
        with pytest.raises(TooLarge, match="The user may store 100 bytes"):
            upload_requests.request_uploads(house, ALICE, group_of(house, ALICE), [WantedFile("a", 60)])

    def test_open_files_of_a_group(self, house: House) -> None:
        house, group_id = limited(house, open_files_per_group=3), group_of(house, ALICE)
        upload_requests.request_upload(house, ALICE, group_id, 2)
        with pytest.raises(TooMany, match="may have 3 files that are not submitted yet; it has 2 and 2 more"):
            upload_requests.request_upload(house, ALICE, group_id, 2)

    def test_bytes_in_a_window(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_window=100, window_hours=1), group_of(house, ALICE)
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 60)])
        with pytest.raises(TooMany, match=r"100 bytes in 1 hours; 60 were requested .* It frees from 2"):
            upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 60)])
        with house.sessions.begin() as session:
            session.exec(select(UploadedFile)).one().requested_at -= 3601
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 60)])

    def test_what_is_given_up_or_expired_is_free_again(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        for _ in range(3):
            (answer,) = upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 100)])
            file_states.abort(house, ALICE, answer.file_id)
        (answer,) = upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 100)])
        with house.sessions.begin() as session:
            session.get_one(UploadedFile, answer.file_id).expires_at = 0
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 100)])

    def test_sealing_moves_bytes_from_reserved_to_used_and_none_are_lost(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        (file_id,) = upload(house, ALICE, group_id, b"x" * 60)
        submit_file(house, group_id, file_id)
        with pytest.raises(TooLarge, match="60 are used and 41 more"):
            upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 41)])
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 40)])

    def test_undeclared_bytes_are_counted_at_submit(self, house: House, store: MemoryStore) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        for size, fits in ((60, True), (41, False), (40, True)):
            (answer,) = upload_requests.request_upload(house, ALICE, group_id)
            assert answer.put is not None
            store.put(answer.put, b"x" * size)
            if fits:
                submit_file(house, group_id, answer.file_id)
            else:
                with pytest.raises(TooLarge, match="60 are used and 41 more were submitted"):
                    submit_file(house, group_id, answer.file_id)

    def test_racing_requests_never_exceed_a_limit(self, house: House) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        answers: list[str] = []

        def ask() -> None:
            for _ in range(5):
                try:
                    upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 9)])
                    answers.append("yes")
                except TooLarge:
                    answers.append("no")

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (answers.count("yes"), len(answers)) == (11, 30)

    def test_a_store_that_fails_leaves_nothing_reserved(self, house: House, store: MemoryStore) -> None:
        house, group_id = limited(house, bytes_per_group=100), group_of(house, ALICE)
        store.down = True
        with pytest.raises(ProcessingFailure):
            upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 100)])
        store.down = False
        upload_requests.request_uploads(house, ALICE, group_id, [WantedFile("a", 100)])


class TestParts:
    """Large files come in parts."""

    DATA = bytes(range(256)) * (12 * MIB // 256)

    def request(self, house: House, data: bytes | None = None, **options: Any) -> Any:
        body = self.DATA if data is None else data
        (answer,) = upload_requests.request_uploads(house, ALICE, group_of(house, ALICE), [wanted(body)], **options)
        return answer

    def parts_of(self, part_size: int, data: bytes | None = None) -> list[bytes]:
        body = self.DATA if data is None else data
        return [body[start : start + part_size] for start in range(0, len(body), part_size)]

    def test_only_large_files_and_those_that_ask_are_cut(self, house: House) -> None:
        house = small_parts(house)
        assert self.request(house).multipart is not None
        assert self.request(house, b"x" * 10 * MIB).put is not None
        assert self.request(house, b"x" * 10 * MIB, cutting=Cutting(multipart=True)).multipart is not None
        assert self.request(house, b"x" * 5 * MIB, cutting=Cutting(multipart=True)).put is not None

    def test_parts_make_the_file(self, house: House, store: MemoryStore) -> None:
        house = small_parts(house)
        answer = self.request(house)
        plan = answer.multipart
        assert (plan.part_size, plan.part_count, [part.number for part in plan.parts]) == (5 * MIB, 3, [1, 2, 3])
        chunks = zip(plan.parts, self.parts_of(plan.part_size), strict=True)
        etags = [store.put(part.request, chunk) for part, chunk in chunks]
        assert file_states.file_state(house, ALICE, answer.file_id).state == "requested"
        multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, etags)])
        assert file_states.file_state(house, ALICE, answer.file_id).state == "completed"
        ((_, data),) = next(iter(store.versions.values()))
        assert data == self.DATA

    def test_each_part_has_its_exact_length(self, house: House, store: MemoryStore) -> None:
        plan = self.request(small_parts(house)).multipart
        lengths = [int(part.request.headers["Content-Length"]) for part in plan.parts]
        assert lengths == [5 * MIB, 5 * MIB, 2 * MIB]
        with pytest.raises(Refused, match="403"):
            store.put(plan.parts[2].request, b"x" * 5 * MIB)

    def test_an_interrupted_upload_says_what_is_there_and_goes_on(self, house: House, store: MemoryStore) -> None:
        house = small_parts(house)
        answer = self.request(house)
        chunks = self.parts_of(5 * MIB)
        first = store.put(answer.multipart.parts[0].request, chunks[0])
        state = file_states.file_state(house, ALICE, answer.file_id)
        assert [(part.number, part.size) for part in state.parts] == [(1, 5 * MIB)]
        assert (state.part_size, state.part_count, state.declared_size) == (5 * MIB, 3, 12 * MIB)
        rest = multipart.sign_parts(house, ALICE, answer.file_id, [2, 3])
        etags = [first, *(store.put(part.request, chunks[part.number - 1]) for part in rest)]
        multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, etags)])

    def test_asking_for_parts_keeps_an_upload_alive(self, house: House) -> None:
        house = small_parts(house)
        answer = self.request(house)
        with house.sessions.begin() as session:
            session.get_one(UploadedFile, answer.file_id).expires_at -= 3600
        before = file_states.file_state(house, ALICE, answer.file_id).expires_at or 0
        multipart.sign_parts(house, ALICE, answer.file_id, [1])
        assert (file_states.file_state(house, ALICE, answer.file_id).expires_at or 0) > before + 3000

    @pytest.mark.parametrize("numbers", [[], [0], [4], [1] * 101])
    def test_parts_that_do_not_exist_are_not_signed(self, house: House, numbers: list[int]) -> None:
        house = small_parts(house)
        answer = self.request(house)
        with pytest.raises(BadRequest):
            multipart.sign_parts(house, ALICE, answer.file_id, numbers)

    def test_missing_parts_are_counted_before_anything_is_put_together(self, house: House, store: MemoryStore) -> None:
        house = small_parts(house)
        answer = self.request(house)
        etag = store.put(answer.multipart.parts[0].request, self.parts_of(5 * MIB)[0])
        with pytest.raises(Unprocessable, match=f"have {5 * MIB} bytes, declared were {12 * MIB}"):
            multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, [etag])])
        assert store.versions == {}

    def test_completing_twice_or_with_nothing_is_refused_in_the_words_of_loculus(
        self, house: House, store: MemoryStore
    ) -> None:
        (answer,) = upload_requests.request_multipart_upload(house, ALICE, group_of(house, ALICE), 1, 2)
        assert answer.multipart is not None
        with pytest.raises(Unprocessable, match=f"^No etags provided for file ID {answer.file_id}.$"):
            multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, [])])
        etag = store.put(answer.multipart.parts[0].request, b"all")
        multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, [etag.strip('"')])])
        with pytest.raises(Unprocessable, match=r"^The following files have already been completed: "):
            multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, [etag])])

    def test_a_completion_whose_answer_got_lost_can_be_repeated(self, house: House, store: MemoryStore) -> None:
        house = small_parts(house)
        answer = self.request(house)
        chunks = zip(answer.multipart.parts, self.parts_of(5 * MIB), strict=True)
        etags = [store.put(part.request, chunk) for part, chunk in chunks]
        (upload_id,) = store.uploads
        store.complete_multipart(store.uploads[upload_id][0], upload_id, list(enumerate(etags, start=1)))
        multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, etags)])
        assert file_states.file_state(house, ALICE, answer.file_id).state == "completed"

    def test_loculus_gets_all_parts_at_once_within_reason(self, house: House) -> None:
        group_id = group_of(house, ALICE)
        answers = upload_requests.request_multipart_upload(house, ALICE, group_id, 2, 150)
        assert [len(answer.multipart.parts) for answer in answers if answer.multipart] == [150, 150]
        with pytest.raises(BadRequest, match=r"^The number of parts must between 1 and 10000\.$"):
            upload_requests.request_multipart_upload(house, ALICE, group_id, 1, 10001)
        with pytest.raises(BadRequest):
            upload_requests.request_multipart_upload(house, ALICE, group_id, 101, 100)

    def test_giving_up_tells_the_store_and_ends_everything(self, house: House, store: MemoryStore) -> None:
        house = small_parts(house)
        answer = self.request(house)
        file_states.abort(house, ALICE, answer.file_id)
        assert store.uploads == {}
        assert file_states.file_state(house, ALICE, answer.file_id).state == "expired"
        with pytest.raises(Conflict):
            multipart.sign_parts(house, ALICE, answer.file_id, [1])
        with pytest.raises(Unprocessable, match="expired"):
            multipart.complete_multipart_uploads(house, ALICE, [(answer.file_id, ["x"])])

    def test_a_single_put_has_no_parts(self, house: House) -> None:
        (file_id,) = upload(house, ALICE, group_of(house, ALICE), b"x")
        with pytest.raises(BadRequest):
            multipart.sign_parts(house, ALICE, file_id, [1])


OPERATIONS: dict[str, Callable[[House, Any, str], object]] = {
    "state": file_states.file_state,
    "parts": lambda house, actor, file_id: multipart.sign_parts(house, actor, file_id, [1]),
    "complete": lambda house, actor, file_id: multipart.complete_multipart_uploads(house, actor, [(file_id, ["e"])]),
    "abort": file_states.abort,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_foreign_file_id_is_like_an_unknown_one(house: House, operation: Callable[..., object]) -> None:
    (answer,) = upload_requests.request_multipart_upload(house, ALICE, group_of(house, ALICE))
    unknown = "00000000-0000-4000-8000-000000000000"
    texts = []
    for file_id in (answer.file_id, unknown):
        with pytest.raises(RuleViolation) as refusal:
            operation(house, BOB, file_id)
        assert type(refusal.value) is NotFound
        texts.append(str(refusal.value).replace(file_id, "ID"))
    assert texts[0] == texts[1]
    with pytest.raises(Unauthenticated):
        operation(house, None, answer.file_id)


def test_a_maintainer_sees_any_upload(house: House) -> None:
    (file_id,) = upload(house, ALICE, group_of(house, ALICE), b"x")
    assert file_states.file_state(house, MAINTAINER, file_id).declared_size == 1


def test_a_sealed_file_is_never_given_up(house: House) -> None:
    group_id = group_of(house, ALICE)
    (file_id,) = upload(house, ALICE, group_id, b"x")
    submit_file(house, group_id, file_id)
    with pytest.raises(Conflict):
        file_states.abort(house, ALICE, file_id)
    state = file_states.file_state(house, ALICE, file_id)
    assert (state.state, state.size, state.expires_at) == ("sealed", 1, None)
