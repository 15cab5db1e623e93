"""Writes the contract for others to read: JSON Schemas, the AsyncAPI document and the test vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter

from schemas import asyncapi, documents, profiles, vectors
from stayhand import wire

ROOT = Path(__file__).parent
Json = dict[str, Any]

Global = (
    documents.EnforcementPoint
    | documents.PackDocument
    | documents.ActivePolicy
    | documents.KillSwitch
    | documents.ObserveMode
    | profiles.ProfileDocument
)
MODELS: tuple[type[BaseModel], ...] = (
    wire.PendingAction,
    wire.Outcome,
    wire.Decision,
    wire.Rejection,
    wire.Fallback,
    documents.EnforcementPoint,
    documents.PackDocument,
    documents.ActivePolicy,
    documents.KillSwitch,
    documents.ObserveMode,
    profiles.ProfileDocument,
    documents.Facts,
    documents.AuditRecord,
    documents.DeadLetter,
)
UNIONS: Mapping[str, TypeAdapter[Any]] = {"Control": documents.CONTROL, "Global": TypeAdapter(Global)}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[str, str]:
    """Every exported file by its path below ``schemas/``; the same text each time."""
    exported = {f"json/{name}.json": _json_text(schema) for name, schema in schemas().items()}
    exported["asyncapi.yaml"] = yaml.safe_dump(
        asyncapi.document(), sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )
    exported["vectors.json"] = _json_text(vectors.vectors())
    return exported


def schemas() -> dict[str, Json]:
    """The JSON Schema of each model's JSON, by its name."""
    found = {model.__name__: _body_schema(model) for model in MODELS}
    found |= {name: union.json_schema() | {"title": name} for name, union in UNIONS.items()}
    return {
        name: {"$schema": _DIALECT, "$id": f"urn:stayhand:schema:v1:{name}", **_plain(schema)}
        for name, schema in found.items()
    }


def write(root: Path = ROOT) -> list[str]:
    """Write what differs and remove schemas of models that are gone; returns the paths that changed."""
    changed = stale(root)
    exported = files()
    for name in changed:
        path = root / name
        if name in exported:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(exported[name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def stale(root: Path = ROOT) -> list[str]:
    """The paths whose text is not what the models say now, or that nothing exports any more."""
    exported = files()
    there = {f"json/{path.name}" for path in (root / "json").glob("*.json")}
    differs = [name for name, text in exported.items() if _text(root / name) != text]
    return sorted([*differs, *(there - exported.keys())])


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _body_schema(model: type[BaseModel]) -> Json:
    """The schema of what travels in the body: fields that travel elsewhere are left out."""
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        if field.exclude:
            del schema["properties"][name]
    return schema


def _plain(schema: Any) -> Any:
    """Without OpenAPI's ``discriminator``, which is no JSON Schema and which AsyncAPI reads otherwise."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name != "discriminator" or "propertyName" not in value}
    return {name: _plain(value) for name, value in kept.items()}


def _json_text(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True, sort_keys=True) + "\n"
