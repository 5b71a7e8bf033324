"""Every numeric option of every command has a least value; NaN, infinities and numbers beyond 2^53 are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import pytest

from rarft.core.config import Config, nested_config
from rarft.core.errors import InputError
from rarft.core.stages import find_stages

ANY_NUMBER = {"label.likelihood.threshold", "retrieve.min_score", "bundle.min_score"}


def numbers(config: type[Config], prefix: str) -> list[tuple[str, list[Any]]]:
    """Numeric options with the constraints on them."""
    found = []
    for name, field in config.model_fields.items():
        section = nested_config(field)
        if section:
            found += numbers(section, f"{prefix}.{name}")
            continue
        parts = [field.annotation, *get_args(field.annotation)]
        marks = list(field.metadata)
        for part in parts:
            if get_origin(part) is Annotated:
                marks += [m for mark in get_args(part)[1:] for m in (mark, *getattr(mark, "metadata", ()))]
                parts = [*parts, get_args(part)[0]]
        if {int, float} & set(parts):
            found.append((f"{prefix}.{name}", marks))
    return found


ALL = [pair for stage in find_stages().values() for pair in numbers(stage.config_type, stage.name)]


@pytest.mark.parametrize(("name", "marks"), ALL, ids=[name for name, _ in ALL])
def test_every_number_has_a_least_value(name: str, marks: list[Any]) -> None:
    bounded = any(isinstance(mark, annotated_types.Ge | annotated_types.Gt) for mark in marks)
    assert bounded or name in ANY_NUMBER


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("retrieve", {"min_score": "nan"}), ("retrieve", {"min_score": "inf"}), ("retrieve", {"diversity": 5}),
        ("label", {"likelihood": {"threshold": "nan"}}), ("label", {"likelihood": {"threshold": "-inf"}}),
        ("evaluate", {"temperature": 1e300}), ("evaluate", {"temperature": 1e-300}),
        ("train", {"temperature": 1e-300}), ("label", {"pass_rate": {"temperature": 1e-300}}),
        ("evaluate", {"top_p": 2}), ("testbed", {"policy": {"heads": 7}}), ("train", {"temperature": 1e300}),
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(stage: str, options: dict[str, Any]) -> None:
    config = find_stages()[stage].config_type
    required = {field: good(info.annotation) for field, info in config.model_fields.items() if info.is_required()}
    with pytest.raises(InputError, match="test: `"):
        config.parse(required | options, "test")


def good(annotation: Any) -> Any:
    """A value that a required option takes."""
    origin = get_origin(annotation)
    return ["x"] if origin is list else get_args(annotation)[0] if origin is Literal else "x"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1"])
@pytest.mark.parametrize("name", [name for name, _ in ALL if name not in ANY_NUMBER])
def test_no_number_is_negative_or_endless(name: str, value: str) -> None:
    stage, *path = name.split(".")
    config = find_stages()[stage].config_type
    values: Any = value
    for part in reversed(path):
        values = {part: values}
    needed = {field: info for field, info in config.model_fields.items() if info.is_required()}
    required = {field: good(info.annotation) for field, info in needed.items()}
    with pytest.raises(InputError, match=rf"`{'.'.join(path)}`: "):
        config.parse(required | values, "test")
