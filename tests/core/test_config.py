"""Files of options: a key once, numbers as they are meant, no code, and no file that unfolds without end."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from rarft.core.config import parse_value, read_yaml
from rarft.core.errors import InputError

LEVELS = [f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)]
BOMB = "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]", *LEVELS])
"""Nine levels of nine: 3.5 billion values in 500 bytes."""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\na: 2\n", "key `a` stands twice; keep one"),
        ("s:\n  a: 1\n  a: 2\n", "key `a` stands twice; keep one"),
        ("? [a]\n: 1\n", "a key is a list or a mapping"),
        (BOMB, "unfold without end or to a huge size"),
        ("a: &a [*a]\n", "unfold without end"),
        ("a: &a {b: *a}\n", "unfold without end"),
        ("a: " + "[" * 9999, "not a YAML file"),
        ("a: " + "[" * 60 + "]" * 60, "unfold without end or to a huge size"),
        ("!!python/object/apply:os.system [true]\n", "not a YAML file"),
        ("- x\n", "holds a list; a mapping"),
        ("a: [\n", "not a YAML file"),
        ("\ttab: x\n", "not a YAML file"),
    ],
)
def test_a_file_that_means_nothing_good_is_one_line_and_takes_no_memory(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as error:
        read_yaml(path)
    assert told in str(error.value) and len(str(error.value).splitlines()) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def test_latin_1_and_devices_are_told(tmp_path: Path) -> None:
    path = tmp_path / "options.yaml"
    path.write_bytes("name: é".encode("latin-1"))
    with pytest.raises(InputError, match="not a YAML file"):
        read_yaml(path)
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_yaml("/dev/zero")


def test_values_are_what_they_look_like() -> None:
    assert parse_value("1e-6") == 1e-6 and parse_value("7") == 7 and parse_value("text") == "text"
    for broken in ("[", "{a:", "*x", "&a *a"):
        with pytest.raises(InputError, match="no value that YAML can read"):
            parse_value(broken)
