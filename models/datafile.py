"""Data files that ship with the models: YAML of a fixed shape; what breaks it is refused by naming the field."""

from __future__ import annotations

from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Document(BaseModel):
    """A part of a data file: frozen, without coercion, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


_D = TypeVar("_D", bound=Document)


def validated(text: str, shape: type[_D], name: str, refused: type[ValueError]) -> _D:
    """The file's content in its shape.

    Raises:
        refused: naming the field and what was expected, or the file's ``name`` where it is no YAML.
    """
    try:
        return shape.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise refused(f"{name}: expected YAML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise refused(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
