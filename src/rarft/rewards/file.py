"""`rarft verify FILE.jsonl`: score rows of `gold, answer`, in order.

Rows come out as they went in, with `reward` and `reason` added. Read and written in blocks, so the file may be larger
than memory. Left out: other file formats; `verify` scores anything that Python can read.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rarft.core.errors import InputError
from rarft.records.rows import read_rows
from rarft.rewards.base import get_reward
from rarft.rewards.scoring import DEFAULT_TIMEOUT, score_answers

BLOCK = 4096
"""Rows scored at a time."""


def verify_file(path: str, output: str | None, reward: str = "math", timeout: float = DEFAULT_TIMEOUT) -> None:
    """Score the rows of `path` and write them, with `reward` and `reason`, to `output` or standard output.

    Args:
        path: JSONL with columns `gold` and `answer`: a whole completion, or just the answer.
        output: the file to write, replaced only when all rows are scored; None for standard output.
        reward: which verifier; other columns of a row are passed on to it.
        timeout: seconds of work per answer.

    Raises:
        InputError: no such file, a row that is not JSON or lacks a column, an unknown reward.
    """
    try:
        get_reward(reward)
    except (ValueError, ImportError) as error:
        raise InputError(f"--reward {reward}: {error}") from None
    if not timeout > 0:
        raise InputError(f"--timeout {timeout:g}: give seconds above 0")
    scored = _score(path, reward, timeout)
    if output is None:
        _write(scored, sys.stdout)
        return
    aside = Path(output + ".tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            _write(scored, file)
        os.replace(aside, output)
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}; choose another --output") from None
    finally:
        aside.unlink(missing_ok=True)


def _score(path: str, reward: str, timeout: float) -> Iterator[dict[str, Any]]:
    rows = iter(_checked(path))
    while block := list(islice(rows, BLOCK)):
        golds = [str(row["gold"]) for row in block]
        answers = [_answer(str(row["answer"]), reward) for row in block]
        verdicts = score_answers(golds, answers, name=reward, extras=block, timeout=timeout)
        for row, verdict in zip(block, verdicts, strict=True):
            yield row | {"reward": verdict.reward, "reason": verdict.reason}


def _checked(path: str) -> Iterator[dict[str, Any]]:
    for number, row in read_rows(path):
        for column in ("gold", "answer"):
            if row.get(column) is None:
                raise InputError(f"{path}, row {number}: column `{column}` is missing; rows need `gold` and `answer`")
        if not str(row["gold"]).strip():
            raise InputError(f"{path}, row {number}: column `gold` is empty; give it a value")
        yield row


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
