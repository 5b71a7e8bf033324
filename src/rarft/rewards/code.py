"""The code reward: does the program in a completion pass the problem's unit tests?

A problem brings `tests` (Python asserts: one text, or a list of texts), perhaps `entry_point` (the function's name) and
`modules` (name -> source of a library that programs may import and call). Program and tests run in sandboxes of their
own; docs/rewards-code.md says what that promises and what not. Left out: partial credit for some of the tests,
languages other than Python, packages beyond the standard library.
"""

import builtins
import json
import re
import signal
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from rarft.core.errors import InputError
from rarft.rewards.base import Reward, TooLarge
from rarft.rewards.extract import TAIL
from rarft.rewards.pool import GRACE
from rarft.rewards.sandbox import Court, OutOfTime, refusal

_FENCE = re.compile(r"^[ \t]*(`{3,})([^\n`]*)$", re.MULTILINE)
_PYTHON = ("", "python", "python3", "py")


class CodeReward(Reward):
    """1 for a program that passes all tests, else 0."""

    uses = ("tests", "entry_point", "modules")
    needs_gold = False
    sandboxed = True
    court: Court | None = None

    def __init__(self) -> None:
        """InputError where there is no sandbox."""
        if self.sandboxed and (why := refusal()) is not None:
            raise InputError(why)

    def extract(self, completion: str) -> str | None:
        """The last fenced block of Python, else the whole completion; None if that is blank."""
        return last_program(completion[-TAIL:])

    def warm_up(self) -> None:
        """Start this worker's two sandboxes."""
        self.court = Court(self.sandboxed)

    def score(self, gold: str, answer: str, extra: Mapping[str, Any]) -> float:
        """1.0 if the program passes, else 0.0. ValueError for tests that cannot be run."""
        case = case_of(extra)
        seconds = signal.getitimer(signal.ITIMER_REAL)[0]  # then this worker is killed: it needs longer, to clear up
        if seconds:
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE / 2)
        if self.court is None:
            self.warm_up()
        assert self.court is not None
        try:
            return float(self.court.try_program(answer, case, seconds or 5.0) == "passed")
        except OutOfTime:
            raise TooLarge from None

    def check_gold(self, gold: str, extra: Mapping[str, Any]) -> None:
        """ValueError if there are no tests, they are not Python, or they ask nothing of the program."""
        case_of(extra)


class UnsandboxedCodeReward(CodeReward):
    """The same where no sandbox can be had: programs run as this user and can read what it can read."""

    sandboxed = False


def last_program(text: str) -> str | None:
    """The last block fenced with ``` whose language is Python or not given, else all of `text`; None if blank.

    A block that is never closed ends with the text.
    """
    found, start, fence, language = text, None, "", ""
    for match in _FENCE.finditer(text):
        if start is None:
            start, fence, language = match.end() + 1, match[1], match[2].strip().lower()
        elif len(match[1]) >= len(fence) and not match[2].strip():
            found = text[start : match.start()] if language in _PYTHON else found
            start = None
    if start is not None and language in _PYTHON:
        found = text[start:]
    return textwrap.dedent(found).strip("\r\n") if found.strip() else None


def case_of(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What Court.try_program needs to know of a problem. ValueError, in one line, if it cannot be."""
    tests, modules = extra.get("tests"), extra.get("modules") or {}
    if isinstance(tests, (list, tuple)):
        tests = "\n".join(map(str, tests))
    if not isinstance(tests, str) or not tests.strip():
        raise ValueError("it has no `tests`, a column of Python asserts")
    if isinstance(modules, str):
        modules = json.loads(modules)
    modules = {name: source for name, source in modules.items() if source}  # Parquet fills in the others with None
    entry_point = extra.get("entry_point") or None
    names, imports, check = _outside_names(tests, entry_point)
    return {"tests": tests, "names": names, "imports": imports, "check": check, "modules": modules}


@lru_cache(maxsize=256)
def _outside_names(tests: str, entry_point: str | None) -> tuple[list[str], list[str], str | None]:
    """The names that the tests take from the program, the standard modules that they take for granted, and what of
    the program's their `check` is to be called with."""
    try:
        table = symtable.symtable(tests, "<tests>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"its `tests` are not Python: {error}") from None
    symbols = [symbol for symbol in _all_symbols(table) if symbol.is_global()]
    own = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in symbols if symbol.is_referenced()}
    free = used - own
    names = {name for name in free if not hasattr(builtins, name) and name not in sys.stdlib_module_names}
    check = entry_point if "check" in own - used else None
    if entry_point:
        names.add(entry_point)
    elif not names and len(free) == 1:  # a function called `sum`
        names = free
    if not names:
        raise ValueError("its `tests` ask nothing of the program; name its function in `entry_point`")
    return sorted(names), sorted((free & sys.stdlib_module_names) - names), check


def _all_symbols(table: symtable.SymbolTable) -> Iterator[symtable.Symbol]:
    yield from table.get_symbols()
    for child in table.get_children():
        yield from _all_symbols(child)
