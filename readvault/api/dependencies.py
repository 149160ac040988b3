"""What routes ask for: the house, the user, the organism, parameters from wherever they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import Depends, Header, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile

from readvault.domain.actor import Actor
from readvault.domain.errors import BadRequest, Unauthenticated
from readvault.domain.organism import Organism
from readvault.services.house import House

MAX_INT = 2**31 - 1
"""Numbers are 32 bits wide in the protocol (Spring's `int`); wider ones are a malformed request."""
PRINTABLE_ASCII = r"^[\x20-\x7e]+$"
MAX_FORM_FIELDS = 1000
MAX_FORM_FILES = 10
MAX_DEPTH = 50
_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
"""Of forms. Their parser would take any codec of Python's: one needs minutes for a megabyte, others fail."""


def storable(text: str) -> str:
    """Refuse what no database can hold: NUL and lone surrogates."""
    if "\x00" in text:
        raise ValueError("NUL characters are not allowed")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise ValueError("the text is no valid Unicode") from fault
    return text


def all_storable(value: Any, depth: int = 0) -> Any:
    """Refuse a JSON value that holds such a text anywhere, or is nested deeper than anything that is meant."""
    if depth > MAX_DEPTH:
        raise ValueError(f"JSON may be nested {MAX_DEPTH} deep")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(key): all_storable(each, depth + 1) for key, each in value.items()}
    return [all_storable(each, depth + 1) for each in value] if isinstance(value, list) else value


Text = Annotated[str, AfterValidator(storable)]
Number = Annotated[int, Path(ge=0, le=MAX_INT)]
Label = Annotated[Text, Path(min_length=1, max_length=300)]


# These are coroutines because plain functions would each wait for a thread, and for nothing.
async def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house.steady()  # one set of organisms for the whole request


async def _caller(request: Request) -> Actor | None:
    actor: Actor | None = request.state.actor
    return actor


async def _user(request: Request) -> Actor:
    actor = await _caller(request)
    if actor is None:
        raise Unauthenticated("Authentication needed.")
    return actor


def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=PRINTABLE_ASCII,
            description="Sent again with the same key, the request gets the answer of the first time.",
        ),
    ] = None,
) -> str | None:
    return idempotency_key


HouseDep = Annotated[House, Depends(_house)]
CallerDep = Annotated[Actor | None, Depends(_caller)]
"""The user, or None for an anonymous caller: for public routes."""
UserDep = Annotated[Actor, Depends(_user)]
IdempotencyKeyDep = Annotated[str | None, Depends(_idempotency_key)]
"""The header `Idempotency-Key`: 1 to 255 printable ASCII characters, or None."""


async def _organism(organism: str, house: HouseDep) -> Organism:
    return house.organism(organism)


OrganismDep = Annotated[Organism, Depends(_organism)]


@dataclass(frozen=True, slots=True)
class Fields:
    """The texts and files of a request, from the query and the form together."""

    texts: Mapping[str, Sequence[str]]
    files: Mapping[str, UploadFile] = field(default_factory=dict)


async def _fields(request: Request) -> AsyncIterator[Fields]:
    texts: dict[str, list[str]] = {}
    files: dict[str, UploadFile] = {}
    for name, text in request.query_params.multi_items():
        texts.setdefault(name, []).append(text)
    _all_can_be_stored(texts)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        yield Fields(texts)
        return
    _, options = parse_options_header(request.headers["content-type"])
    if options.get(b"charset", b"utf-8").strip().lower() not in _CHARSETS:
        raise BadRequest("The texts of a form are UTF-8.")
    async with request.form(max_fields=MAX_FORM_FIELDS, max_files=MAX_FORM_FILES) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                texts.setdefault(name, []).append(value)
            elif name in files:
                raise BadRequest(f"There is more than one file '{name}'.")
            else:
                files[name] = value
        _all_can_be_stored(texts)
        yield Fields(texts, files)


def _all_can_be_stored(texts: Mapping[str, Sequence[str]]) -> None:
    for name, given in texts.items():
        for text in (name, *given):
            try:
                storable(text)
            except ValueError as fault:
                raise BadRequest(f"{name!a}: {fault}.") from None


FieldsDep = Annotated[Fields, Depends(_fields)]


def parameters(model: type[BaseModel]) -> Any:
    """Fill a model from the query or the form body, as Loculus's clients use both for the same parameter.

    Lists are repeated or comma-separated; an empty text counts as absent.
    """

    async def filled(fields: FieldsDep) -> BaseModel:
        values: dict[str, Any] = {}
        for name, info in model.model_fields.items():
            key = info.alias or name
            texts = [text for text in fields.texts.get(key, ()) if text != ""]
            if texts:
                values[key] = _split(texts) if _is_list(info.annotation) else texts[0]
        try:
            return model.model_validate(values)
        except ValidationError as fault:
            raise RequestValidationError(fault.errors(include_url=False, include_context=False)) from fault

    return Depends(filled)


def documented(model: type[BaseModel], *, files: Mapping[str, bool] | None = None) -> dict[str, Any]:
    """The OpenAPI of `parameters(model)`, and of the file parts (name: required) of a multipart body."""
    schema = model.model_json_schema(by_alias=True)
    properties: dict[str, Any] = _inlined(schema.get("properties", {}), schema.get("$defs", {}))
    required: list[str] = schema.get("required", [])
    if files is None:
        listed = [
            {"name": name, "in": "query", "required": name in required, "schema": shape}
            for name, shape in properties.items()
        ]
        return {"parameters": listed}
    parts = {name: {"type": "string", "format": "binary"} for name in files}
    body = {
        "type": "object",
        "properties": {**parts, **properties},
        "required": [*(name for name, needed in files.items() if needed), *required],
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema without references: those of a single model lead nowhere in the whole description."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _split(texts: Sequence[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_list(each) for each in get_args(annotation))
    return get_origin(annotation) is list
