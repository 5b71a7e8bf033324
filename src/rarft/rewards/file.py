"""`rarft verify FILE.jsonl`: score rows of `gold, answer`, or what else the reward needs, in order.

Rows come out as they went in, with `reward` and `reason` added. Read and written in blocks, so the file may be larger
than memory. Left out: other file formats; `verify` scores anything that Python can read.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO

from rarft.core.errors import InputError
from rarft.core.files import open_output
from rarft.records.rows import read_rows
from rarft.rewards.base import check_reward, get_reward
from rarft.rewards.scoring import DEFAULT_TIMEOUT, score_answers

BLOCK = 4096
"""Rows scored at a time."""


def verify_file(path: str, output: str | None, reward: str = "math", timeout: float = DEFAULT_TIMEOUT) -> None:
    """Score the rows of `path` and write them, with `reward` and `reason`, to `output` or standard output.

    Args:
        path: JSONL with columns `answer`, a whole completion or just the answer, and `gold`, where the reward needs it.
        output: the file to write, replaced only when all rows are scored; None for standard output.
        reward: which verifier; other columns of a row are passed on to it.
        timeout: seconds of work per answer.

    Raises:
        InputError: no such file, a row that is not JSON or lacks a column or holds in it what is neither text nor a
            number, an unknown reward, an output that cannot be opened.
    """
    check_reward(reward)
    if not 0 < timeout < 86_400:
        raise InputError(f"--timeout {timeout:g}: give seconds above 0 and below a day")
    scored = _score(path, reward, timeout)
    if output is None and sys.stdout is not None:
        _write(scored, sys.stdout)
    else:
        with open_output(os.devnull if output is None else output) as file:  # standard output may be closed
            _write(scored, file)


def _score(path: str, reward: str, timeout: float) -> Iterator[dict[str, Any]]:
    needs_gold = get_reward(reward).needs_gold
    rows = iter(_checked(path, needs_gold))
    while block := list(islice(rows, BLOCK)):
        golds = [_text(row["gold"]) if needs_gold else "" for row in block]
        answers = [_answer(_text(row["answer"]), reward) for row in block]
        verdicts = score_answers(golds, answers, name=reward, extras=block, timeout=timeout)
        for row, verdict in zip(block, verdicts, strict=True):
            yield row | {"reward": verdict.reward, "reason": verdict.reason}


def _checked(path: str, needs_gold: bool) -> Iterator[dict[str, Any]]:
    needed = ("gold", "answer") if needs_gold else ("answer",)
    for number, row in read_rows(path):
        for column in needed:
            if row.get(column) is None:
                need = " and ".join(f"`{name}`" for name in needed)
                raise InputError(f"{path}, row {number}: column `{column}` is missing; rows need {need}")
            try:
                _text(row[column])
            except ValueError as error:
                raise InputError(f"{path}, row {number}: column `{column}` {error}; give it text or a number") from None
        if needs_gold and not _text(row["gold"]).strip():
            raise InputError(f"{path}, row {number}: column `gold` is empty; give it a value")
        yield row


def _text(value: Any) -> str:
    """A text, or a number as one writes it. ValueError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return format(Decimal(repr(value)), "f")
    raise ValueError(f"holds {value if isinstance(value, (bool, float)) else f'a {type(value).__name__}'}")


def _answer(text: str, reward: str) -> str | None:
    """The answer a completion names; a text of one line that names none is taken to be the bare answer itself."""
    found = get_reward(reward).extract(text)
    bare = text.strip()
    if found is not None or not bare or "\\boxed" in bare or "\n" in bare or len(bare) > 1000:
        return found
    return bare


def _write(rows: Iterable[dict[str, Any]], file: TextIO) -> None:
    for row in rows:
        try:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except UnicodeEncodeError:  # half a surrogate pair, or a terminal that is not UTF-8
            file.write(json.dumps(row) + "\n")
    file.flush()
