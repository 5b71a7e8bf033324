"""From a stage's Config to its command-line flags, and from flags back to values.

Every field is a flag, nested sections have dotted names (`--judge.base-url`), `--no-retrieval` turns a switch off,
`--columns.question prompt` sets a key of a mapping. A mistake is one line with the nearest right name.
"""

from __future__ import annotations

import argparse
import difflib
import re
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rarft.core.config import Config, nested_config, parse_value, shown
from rarft.core.errors import InputError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line; flags are never guessed from their beginnings."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d[\d.]*(e[-+]?\d+)?$")  # argparse knows no -1e-3

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")

    def parse(self, arguments: list[str]) -> dict[str, Any]:
        """The options given, by dotted name.

        Raises:
            InputError: an unknown flag, with the nearest right one; a stray word; a flag without its value.
        """
        known, rest = self.parse_known_args(arguments)
        if rest:
            flag = rest[0].partition("=")[0]
            if not flag.startswith("--"):
                raise InputError(f"unexpected argument {shown(flag)} (see `{self.prog} --help`)")
            found = difflib.get_close_matches(flag, self._option_string_actions, n=1)
            hint = f"did you mean `{found[0]}`?" if found else f"see `{self.prog} --help`"
            raise InputError(f"unknown flag `{shown(flag)[1:-1]}`; {hint}")
        return {name: value for name, value in vars(known).items() if value not in (argparse.SUPPRESS, [])}


def add_fields(parser: argparse.ArgumentParser, config: type[Config], arguments: list[str], prefix: str = "") -> None:
    """Add a flag for every field.

    Args:
        arguments: the command line: the keys of mappings that stand there become flags too.
        prefix: of the section's fields, such as `judge.`.
    """
    for name, field in config.model_fields.items():
        nested = nested_config(field)
        if nested is not None:
            add_fields(parser, nested, arguments, f"{prefix}{name}.")
        elif config.positional == name and not prefix:
            parser.add_argument(name, metavar=name.upper(), nargs="*", help=_text(field), default=argparse.SUPPRESS)
        else:
            _add_field(parser, f"{prefix}{name}", field, arguments)
    for old in config.old_names:
        name = f"{prefix}{old}"
        parser.add_argument(_flag(name), dest=name, help=argparse.SUPPRESS, default=argparse.SUPPRESS)


def _add_field(parser: argparse.ArgumentParser, name: str, field: FieldInfo, arguments: list[str]) -> None:
    flag = _flag(name)
    options: dict[str, Any] = {"dest": name, "help": _text(field), "default": argparse.SUPPRESS}
    members = list(get_args(field.annotation)) if _is_union(field.annotation) else [field.annotation]
    kinds = {get_origin(member) or member for member in members}
    if bool in kinds:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
        return
    if dict in kinds:
        options["help"] += f"; give keys as {flag}.KEY VALUE"
        parser.add_argument(flag, metavar="YAML", type=parse_value, **options)
        value = str if get_args(field.annotation)[1] is str else parse_value
        add_free_flags(parser, f"{flag}.", name, arguments, value)
        return
    choices = [str(choice) for member in members if get_origin(member) is Literal for choice in get_args(member)]
    if list in kinds:
        options["nargs"] = "+"
    if type(None) in kinds:
        options["type"] = lambda text: None if text.lower() in ("none", "null") else text
    parser.add_argument(flag, metavar="|".join(choices) or name.rpartition(".")[2].upper(), **options)


def add_free_flags(
    parser: argparse.ArgumentParser, start: str, name: str, arguments: list[str], value: Any = parse_value
) -> None:
    """Take every flag on the command line that begins with `start`, as a key below `name`."""
    for flag in dict.fromkeys(word.partition("=")[0] for word in arguments if word.startswith(start)):
        if flag not in parser._option_string_actions:
            key = flag[len(start) :]
            parser.add_argument(flag, dest=f"{name}.{key}" if name else key, type=value, help=argparse.SUPPRESS,
                                default=argparse.SUPPRESS)  # fmt: skip


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)


def _text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    told = "required" if default is PydanticUndefined else f"default: {default if default != '' else 'empty'}"
    return f"{' '.join((field.description or '').split())} ({told})".replace("%", "%%")
