"""From a stage's Config to its command-line flags, and from flags back to values.

Every field is a flag, nested sections have dotted names (`--judge.base-url`), `--no-retrieval` turns a switch off,
`--columns.question prompt` sets a key of a mapping. A mistake is one line with the nearest right name.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from typing import Any, NoReturn, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rarft.core.config import Config, nested_config, shown
from rarft.core.errors import InputError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line; flags are never guessed from their beginnings."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")


def add_fields(parser: argparse.ArgumentParser, config: type[Config], prefix: str = "") -> None:
    """Add a flag for every field; nested configs get dotted names."""
    for name, field in config.model_fields.items():
        nested = nested_config(field)
        if nested is not None:
            add_fields(parser, nested, f"{prefix}{name}.")
            continue
        add_field(parser, config, name, field, prefix)
    for old in config.old_names:
        flag = "--" + f"{prefix}{old}".replace("_", "-")
        parser.add_argument(flag, dest=f"{prefix}{old}", help=argparse.SUPPRESS, default=argparse.SUPPRESS)


def add_field(parser: argparse.ArgumentParser, config: type[Config], name: str, field: FieldInfo, prefix: str) -> None:
    """Add one field as a flag, or as the positional argument."""
    kind = kind_of(field)
    default = field.get_default(call_default_factory=True)
    told = "required" if default is PydanticUndefined else f"default: {default if default != '' else 'empty'}"
    text = f"{' '.join((field.description or '').split())} ({told})".replace("%", "%%")
    options: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
    if kind is list:
        options["nargs"] = "+"
    if config.positional == name and not prefix:
        parser.add_argument(name, metavar=name.upper(), **options)
        return
    flag, dest = "--" + f"{prefix}{name}".replace("_", "-"), f"{prefix}{name}"
    if kind is bool:
        parser.add_argument(flag, dest=dest, action=argparse.BooleanOptionalAction, **options)
    elif kind is dict:
        options["help"] = text + f"; give keys as {flag}.KEY VALUE"
        parser.add_argument(flag, dest=dest, metavar="YAML", type=parse_mapping, **options)
    else:
        choices = literal_choices(field.annotation)
        metavar = "|".join(choices) if choices else name.upper()
        parser.add_argument(flag, dest=dest, metavar=metavar, type=none_or_text(field), **options)


def kind_of(field: FieldInfo) -> type:
    """bool, list, dict, or str for everything else; `X | None` counts as X."""
    options = (
        [field.annotation, *get_args(field.annotation)]
        if type(None) in get_args(field.annotation)
        else [field.annotation]
    )
    for option in options:
        origin = get_origin(option) or option
        if origin in (list, tuple):
            return list
        if origin in (bool, dict):
            return origin
    return str


def literal_choices(annotation: Any) -> list[str]:
    """The choices of a `Literal`, also inside `X | None`."""
    values = get_args(annotation)
    if values and all(isinstance(v, str) for v in values):
        return list(values)
    return [v for inner in values for v in literal_choices(inner)]


def none_or_text(field: FieldInfo) -> Callable[[str], str | None]:
    """`none` on the command line is None where the field allows it; pydantic turns text into numbers."""
    optional = type(None) in get_args(field.annotation)
    return lambda text: None if optional and text.lower() in ("none", "null") else text


def parse_mapping(text: str) -> dict[str, Any]:
    """A mapping given as YAML or JSON."""
    value = parse_value(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a mapping; write it as {{key: value}}")
    return value


def parse_value(text: str) -> Any:
    """A value given as YAML: `7`, `true`, `[a, b]`, `text`.

    Raises:
        InputError: broken YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"{shown(text)} is no value that YAML can read; put text in quotes") from None


def free_overrides(
    arguments: list[str], parser: Parser, config: type[Config], anything: bool = False
) -> list[tuple[str, Any]]:
    """`--columns.question problem`: keys of mapping fields (or, for recipes, any dotted key).

    Raises:
        InputError: an unknown flag, with the nearest right one; or a flag without its value.
    """
    mappings = {name for name, field in config.model_fields.items() if kind_of(field) is dict}
    found = []
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise InputError(f"unexpected argument {shown(flag)} (see `{parser.prog} --help`)")
        name, equals, text = flag[2:].partition("=")
        head, _, tail = name.partition(".")
        head = head.replace("-", "_")
        if not anything and not (head in mappings and tail):
            flags = [f for action in parser._actions for f in action.option_strings]
            found_near = difflib.get_close_matches(f"--{name}", flags, n=1)
            hint = f"did you mean `{found_near[0]}`?" if found_near else f"see `{parser.prog} --help`"
            raise InputError(f"unknown flag {shown(f'--{name}').replace(chr(39), '`')}; {hint}")
        if not equals:
            if not rest:
                raise InputError(f"`{flag}` needs a value")
            text = rest.pop(0)
        found.append((name if anything else f"{head}.{tail}", parse_value(text)))
    return found
