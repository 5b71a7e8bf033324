"""Typed configs: one frozen class per stage, beside the code it configures.

A stage's Config is its recipe section, its command-line flags and its entry in the manifest, all at once. The
docstring under a field is its help text. What is left out: no global config, no registry; a stage knows only its own.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rarft.core.errors import InputError


@dataclass(frozen=True)
class InputMarker:
    """Marks a field whose value names data the stage reads: its digest goes into the manifest."""


Input = Annotated[str, InputMarker()]
"""A file, a folder, a finished stage's folder, or a Hugging Face id."""


class NotInResult:
    """Marks a field that changes how a result is made but not the result: `timeout: Annotated[float, NotInResult]`."""


class Config(BaseModel):
    """Base of every config: frozen, keyword-only, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset()
    """Dotted names of fields that change how a result is computed but not the result (concurrency, timeouts)."""

    positional: ClassVar[str | None] = None
    """The field that the command line takes without a flag, as in `rarft audit LABELS...`."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build the config from plain values.

        Args:
            values: nested mapping as read from YAML or the command line.
            where: what to call its origin in an error, such as `recipe.yaml, stage label`.

        Raises:
            InputError: unknown key (with the nearest right one), missing key, or a value of the wrong type.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{where}: {explain(cls, error)}") from None

    def input_paths(self) -> Iterator[tuple[str, str]]:
        """Yield `(field name, value)` for every input; a list field yields `name.0`, `name.1`, ..."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            marked = InputMarker() in field.metadata or _mentions_input(field.annotation)
            if value is None or not marked:
                continue
            if isinstance(value, list):
                for i, item in enumerate(value):
                    yield f"{name}.{i}", item
            elif isinstance(value, dict):
                for key, item in value.items():
                    yield f"{name}.{key}", item
            else:
                yield name, value


def _mentions_input(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return InputMarker() in get_args(annotation)[1:]
    return any(_mentions_input(arg) for arg in get_args(annotation))


def explain(cls: type[BaseModel], error: ValidationError) -> str:
    """One of pydantic's errors as one line, with the nearest right name for a misspelt key."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # often why another is missing
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = cls
        for part in path[:-1]:
            annotation = owner.model_fields[part].annotation if part in owner.model_fields else None
            options = (annotation, *get_args(annotation))
            models = [a for a in options if isinstance(a, type) and issubclass(a, BaseModel)]
            if not models:
                break
            owner = models[0]
        nearest = difflib.get_close_matches(path[-1], owner.model_fields, n=1, cutoff=0.5)
        hint = f"did you mean `{nearest[0]}`?" if nearest else f"known keys: {', '.join(owner.model_fields)}"
        return f"unknown key `{name}`; {hint}"
    if first["type"] == "missing":
        return f"`{name}` is missing; it is required"
    return f"`{name}`: {first['msg']}, got {first['input']!r}"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: no such file, broken YAML, or something other than a mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}; a mapping of keys to values is needed")
    return values
