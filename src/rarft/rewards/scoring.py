"""Score completions against gold answers: `verify`, its async twin, and the check of gold answers at loading time.

Whatever a completion holds, `verify` returns one Verdict for each, in order. What can be settled cheaply is settled
here; the rest goes to the pool of workers (pool.py). Equal work within a call is done once. Left out: knowledge of any
domain, which lives in the reward classes.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from rarft.rewards.base import Reward, Verdict, get_reward
from rarft.rewards.pool import shared_pool

DEFAULT_TIMEOUT = 5.0
"""Seconds of wall clock that work on one answer may take."""


def verify(
    golds: Sequence[str],
    completions: Sequence[str],
    *,
    name: str = "math",
    extras: Sequence[Mapping[str, Any]] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[Verdict]:
    r"""Score each completion against the gold answer at the same place; one Verdict each, in the same order.

    name: which reward: one of `BUILT_IN`, or "module:Class". extras: one mapping per completion with the problem's
    other columns (a domain's own metadata; for math the `question`, so that the question echoed back is not rewarded).
    timeout: seconds of wall clock for one answer, counted from when a worker starts on it.

    Safe from any thread, in a forked or spawned process, and in several processes at once; in async code use
    `averify`, which does not block the event loop. No completion makes it raise. Raises ValueError if the lengths
    differ or the name is unknown, InputError if its class cannot be imported, RuntimeError if worker processes cannot
    be started.

    >>> [verdict.reward for verdict in verify(["1/2", "7"], [r"so \boxed{0.5}", "I don't know"])]
    [1.0, 0.0]
    """
    if len(golds) != len(completions) or (extras is not None and len(extras) != len(golds)):
        raise ValueError(f"{len(golds)} gold answers, {len(completions)} completions: give one of each")
    reward = get_reward(name)
    answers = [reward.extract(completion) if isinstance(completion, str) else None for completion in completions]
    return score_answers(golds, answers, name=name, extras=extras, timeout=timeout)


def score_answers(
    golds: Sequence[str],
    answers: Sequence[str | None],
    *,
    name: str = "math",
    extras: Sequence[Mapping[str, Any]] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[Verdict]:
    """`verify` for answers already taken from their completions; None is no answer."""
    _check_timeout(timeout)
    reward = get_reward(name)
    verdicts: list[Verdict | None] = [None] * len(golds)
    waiting: dict[str, list[int]] = {}  # identical work -> its places
    futures: dict[str, Future[dict[str, Any]]] = {}
    for i, (gold, answer) in enumerate(zip(golds, answers, strict=True)):
        gold, extra = str(gold), _used(reward, extras, i)
        if answer is None:
            verdicts[i] = Verdict(0.0, "no_answer")
        elif (settled := reward.shortcut(gold, answer, extra)) is not None:
            verdicts[i] = _verdict({"reward": settled}, answer)
        else:
            key = _key(reward, gold, answer, extra, i)
            if key not in futures:
                request = {"do": "score", "name": name, "gold": gold, "answer": answer, "extra": extra}
                futures[key] = shared_pool().submit(request | {"timeout": timeout})
            waiting.setdefault(key, []).append(i)
    try:
        for key, places in waiting.items():
            reply = futures[key].result()
            for i in places:
                verdicts[i] = _verdict(reply, answers[i])
    finally:
        for future in futures.values():  # after an interrupt: what has not begun need not begin
            future.cancel()
    return [verdict for verdict in verdicts if verdict is not None]


async def averify(
    golds: Sequence[str],
    completions: Sequence[str],
    *,
    name: str = "math",
    extras: Sequence[Mapping[str, Any]] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[Verdict]:
    r"""`verify` for async code: the event loop goes on while the workers score.

    >>> [verdict.reason for verdict in asyncio.run(averify(["7"], [r"\boxed{7}"]))]
    ['correct']
    """
    return await asyncio.to_thread(verify, golds, completions, name=name, extras=extras, timeout=timeout)


def check_golds(
    golds: Sequence[str],
    *,
    name: str = "math",
    extras: Sequence[Mapping[str, Any]] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> list[str | None]:
    r"""For each gold answer None if completions can be scored against it, else why not, in the same order.

    >>> fine, broken = check_golds(["1/2", r"\frac{1}{"])
    >>> fine is None, broken is None
    (True, False)
    """
    _check_timeout(timeout)
    reward = get_reward(name)
    seen: dict[str, Future[dict[str, Any]] | None] = {}
    keys: list[str] = []
    for i, raw in enumerate(golds):
        gold, extra = str(raw), _used(reward, extras, i)
        key = _key(reward, gold, "", extra, i)
        keys.append(key)
        if key not in seen:
            if reward.plain_gold(gold):
                seen[key] = None
                continue
            request = {"do": "check", "name": name, "gold": gold, "extra": extra, "timeout": timeout}
            seen[key] = shared_pool().submit(request)
    problems: dict[str, str | None] = {}
    for key, future in seen.items():
        reply = future.result() if future is not None else {}
        problems[key] = f"took longer than {timeout:g} s" if "timeout" in reply else reply.get("error")
    return [problems[key] for key in keys]


def check_gold(
    gold: str, name: str = "math", *, extra: Mapping[str, Any] | None = None, timeout: float = DEFAULT_TIMEOUT
) -> None:
    """Raise ValueError, saying why, if no completion could be scored against this gold answer."""
    problem = check_golds([gold], name=name, extras=[extra or {}], timeout=timeout)[0]
    if problem is not None:
        raise ValueError(problem)


def _check_timeout(timeout: float) -> None:
    if not 0 < timeout < 86_400:
        raise ValueError(f"timeout is {timeout}; give seconds above 0 and below a day")


def _verdict(reply: dict[str, Any], answer: str | None) -> Verdict:
    if "timeout" in reply:
        return Verdict(0.0, "timeout", answer)
    if "error" in reply:
        return Verdict(0.0, "error", answer)
    reward = min(1.0, max(0.0, reply["reward"]))
    return Verdict(reward, "correct" if reward == 1.0 else "wrong", answer)


def _used(reward: Reward, extras: Sequence[Mapping[str, Any]] | None, place: int) -> dict[str, Any]:
    """The columns of a problem that its reward reads."""
    if extras is None:
        return {}
    row = extras[place]
    return {key: row[key] for key in sorted(row) if reward.uses is None or key in reward.uses}


def _key(reward: Reward, gold: str, answer: str, extra: dict[str, Any], place: int) -> str:
    if not reward.deterministic:
        return str(place)
    return json.dumps([gold, answer, extra], default=str)
