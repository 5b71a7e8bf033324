"""Typed configs: one frozen class per stage, beside the code it configures.

A stage's Config is its recipe section, its command-line flags and its entry in the manifest, all at once. The
docstring under a field is its help text. What is left out: no global config, no registry; a stage knows only its own.
"""

import difflib
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from rarft.core.errors import InputError

MOST_YAML_BYTES, MOST_YAML_VALUES, MOST_YAML_DEPTH = 2**22, 100_000, 50


@dataclass(frozen=True)
class InputMarker:
    """Marks a field whose value names data the stage reads: its digest goes into the manifest."""


Input = Annotated[str, InputMarker()]
"""A file, a folder, a finished stage's folder, or a Hugging Face id."""


Count = Annotated[int, Field(ge=1, le=2**53)]
Size = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""Numbers by what they may be; every numeric option has a least value."""


def _greedy_or_more(value: float) -> float:
    if 0 < value < LEAST_TEMPERATURE:
        raise ValueError(f"0 is greedy; any other temperature is {LEAST_TEMPERATURE} or more")
    return value


LEAST_TEMPERATURE = 1e-3
"""Logits divided by less than this may leave float32."""
Temperature = Annotated[float, Field(ge=0, le=100), AfterValidator(_greedy_or_more)]
"""Of sampling; 0 is greedy."""
TemperatureAboveZero = Annotated[float, Field(ge=LEAST_TEMPERATURE, le=100)]
"""Of sampling whose samples have to differ."""


class NotInResult:
    """Marks a field that can change how a result is computed, but not the result: `Annotated[int, NotInResult]`.

    A finished stage is not done again when such an option changes.
    """


class NotInWork:
    """Marks a field that decides what is computed from a stage's work, but not the work: `Annotated[int, NotInWork]`.

    Another value makes another result, and what is there already of the work is taken over.
    """


class Config(BaseModel):
    """Base of every config: frozen, keyword-only; unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    positional: ClassVar[str | None] = None
    """The field that the command line takes without a flag, as in `rarft audit LABELS...`."""

    old_names: ClassVar[dict[str, str]] = {}
    """Names that fields had in earlier versions -> their names now; still taken, in files and as flags."""

    def rewards(self) -> dict[str, str]:
        """The rewards that a stage with this config asks, by the section that names them ("" for its own options)."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {cls.old_names.get(name, name): value for name, value in values.items()}

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

    def result_values(self) -> dict[str, Any]:
        """The values that decide the result, as JSON: without inputs, which count by content, and `NotInResult`."""
        values = self.model_dump(mode="json")
        drop_marked(type(self), values, NotInResult)
        for name, _ in self.input_paths():
            values.pop(name.split(".")[0], None)
        return values


def drop_marked(cls: type[Config], values: dict[str, Any], marker: type) -> None:
    """Take the fields with a marker out of a config's values."""
    for name, field in cls.model_fields.items():
        section = nested_config(field)
        if marker in field.metadata:
            values.pop(name, None)
        elif section is not None and isinstance(values.get(name), dict):
            drop_marked(section, values[name], marker)


def nested_config(field: FieldInfo) -> type[Config] | None:
    """The Config class of a nested section, or None."""
    for option in (field.annotation, *get_args(field.annotation)):
        if isinstance(option, type) and issubclass(option, Config):
            return option
    return None


def _mentions_input(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return InputMarker() in get_args(annotation)[1:]
    return any(_mentions_input(arg) for arg in get_args(annotation))


def explain(cls: type[Config], error: ValidationError) -> str:
    """One of pydantic's errors as one line, with the nearest right name for a misspelt key."""
    errors = error.errors()
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])  # often why another is missing
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        owner: type[Config] = cls
        for part in path[:-1]:
            inner = nested_config(owner.model_fields[part]) if part in owner.model_fields else None
            if inner is None:
                break
            owner = inner
        return f"unknown key `{name}`; {nearest(path[-1], owner.model_fields)}"
    if first["type"] == "missing":
        return f"`{name}` is missing; it is required"
    return f"`{name}`: {first['msg']}, got {shown(first['input'])}"


def nearest(name: str, known: Iterable[str]) -> str:
    """What to tell somebody who wrote `name`: the nearest of the known names, or all of them."""
    names = list(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean `{found[0]}`?" if found else f"there are: {', '.join(names)}"


def shown(value: Any, most: int = 80) -> str:
    """A value as an error quotes it: on one line, cut where it is long, safe to print."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def set_dotted(values: dict[str, Any], dotted: str, value: Any) -> None:
    """`set_dotted(v, "judge.model", x)` sets `v["judge"]["model"]`.

    Raises:
        InputError: a name on the way holds a value, not a section.
    """
    *parents, last = dotted.split(".")
    for parent in parents:
        below = values.setdefault(parent, {})
        if not isinstance(below, dict):
            raise InputError(f"`{dotted}`: `{parent}` is not a section")
        values = below
    values[last] = value


# YAML


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand once, and 1e-6 is a number, as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a list or a mapping", key.start_mark)
            if key.value in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{key.value}` stands twice; keep one", key.start_mark
                )
            keys.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_value(text: str) -> Any:
    """One value, written as in a file of options: `7`, `true`, `[a, b]`, `text`.

    Raises:
        InputError: broken YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"{shown(text)} is no value that YAML can read; put text in quotes") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises:
        InputError: no such file, broken YAML, a key that stands twice, something other than a mapping, or one that
            refers to itself or unfolds to more than a hundred thousand values.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_YAML_BYTES + 1)
        if len(raw) > MOST_YAML_BYTES:
            raise InputError(f"{path}: larger than {MOST_YAML_BYTES >> 20} MiB; a file of options is needed")
        values = yaml.load(raw.decode("utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())[:300]})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds a {type(values).__name__}; a mapping of keys to values is needed")
    _check_size(values, path)
    return values


def _check_size(values: Any, path: Path) -> None:
    """Refuse what aliases make endless or huge."""
    left, stack = MOST_YAML_VALUES, [(values, 0)]
    while stack:
        value, depth = stack.pop()
        left -= 1
        if left < 0 or depth > MOST_YAML_DEPTH:
            raise InputError(f"{path}: its aliases unfold without end or to a huge size; write the values out")
        if isinstance(value, dict):
            stack += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            stack += [(item, depth + 1) for item in value]
