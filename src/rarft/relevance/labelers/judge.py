"""The judge: a model behind an API says whether a trace's reasoning carries over to a problem.

The prompt asks for the shared transferable pattern by name first, then for yes or no. Structured output is asked for
where the server has it; what comes back is read leniently. After an answer that cannot be read the judge is asked for
one word; then the pair is listed in unjudged.jsonl with the raw text, never taken for a no. Left out: graded
judgements, several pairs in one request.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.core.estimate import Count, times
from rarft.core.stages import Work
from rarft.llm.answers import Answer, Question, ask_all
from rarft.llm.client import Message, ServerConfig, check_server
from rarft.records.labels import Label
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Write

INSTRUCTIONS = """You decide whether a solved example would help somebody solve another problem.

It helps if its solution uses a reasoning pattern that carries over: the same strategy, mathematical structure, \
theorem or proof technique. A similar story, topic, name or number does not help by itself, and a different story does \
not hurt."""

PAIR = """PROBLEM TO SOLVE
{question}

SOLVED EXAMPLE
{problem}

ITS SOLUTION
{solution}
"""

TASK = """
First name the reasoning pattern that the solution uses and the problem needs, in a few words, or "none". Then decide.
Answer with JSON and nothing else: {"pattern": "...", "relevant": true or false}"""

PLAIN_TASK = """
Does the reasoning of the solved example carry over to the problem to solve? Answer with one word, yes or no."""

SCHEMA = {
    "type": "object",
    "properties": {"pattern": {"type": "string"}, "relevant": {"type": "boolean"}},
    "required": ["pattern", "relevant"],
    "additionalProperties": False,
}
YES, NO = {"yes", "true", "relevant", "1"}, {"no", "false", "irrelevant", "not relevant", "0"}
VERDICT_KEYS = ("relevant", "answer", "verdict", "decision", "is_relevant", "transferable")
PATTERN_KEYS = ("pattern", "shared_pattern", "reason", "rationale", "explanation")
SAID = re.compile(
    r"(?:relevant|answer|verdict|decision|conclusion)[\s*_\"'=:]{0,6}(?:is)?[\s*_\"'=:]{0,6}\b(yes|no|true|false)\b",
    re.IGNORECASE,
)
BARE = re.compile(r"^[\s*_\"'#>-]*(yes|no|true|false)\b", re.IGNORECASE)


class JudgeConfig(ServerConfig):
    max_tokens: int = 256
    """Most tokens of one answer."""
    votes: int = 1
    """Answers per pair, an odd number; the majority decides and the score is the share of yes. More than 1 needs a
    temperature above 0."""
    solution_characters: int = 6000
    """Most characters of a trace's solution that the judge sees."""
    max_unjudged: float = 0.05
    """Share of pairs without a usable answer above which the stage fails."""
    expected_tokens: int = 48
    """Tokens of an answer that --dry-run reckons with."""


def pair_messages(pair: Pair, config: JudgeConfig, task: str = TASK) -> list[Message]:
    """What the judge is sent about a pair; with PLAIN_TASK after an answer that could not be read."""
    solution = pair.trace.solution.strip()
    if len(solution) > config.solution_characters:
        solution = solution[: config.solution_characters].rsplit(" ", 1)[0] + " [...]"
    text = PAIR.format(question=pair.problem.question.strip(), problem=pair.trace.problem.strip(), solution=solution)
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": text + task}]


class Judge(Labeler):
    """Labels pairs by asking the judge."""

    Options = JudgeConfig
    options: JudgeConfig

    def check(self) -> None:
        """As `Labeler.check`."""
        check_server(self.options, "judge")
        if self.options.votes % 2 == 0:
            raise InputError(f"judge.votes is {self.options.votes}; give an odd number, so that there is a majority")
        if self.options.votes > 1 and self.options.temperature == 0:
            raise InputError("judge.votes above 1 needs --judge.temperature above 0; at 0 all votes are the same")

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        """As `Labeler.label`.

        Raises:
            InputError: the server can't be used (answers so far are kept), or more than `max_unjudged` stay unjudged.
        """
        judge_label(pairs, self.options, total, work, scratch, write)

    def estimate(self, pairs: Count, problems: Count, characters: int) -> tuple[dict[str, Count], list[str]]:
        """Calls and tokens (4 characters each), and what they cost."""
        config = self.options
        calls = times(pairs, config.votes)
        tokens_in = times(calls, (characters + len(INSTRUCTIONS) + len(TASK)) / 4)
        tokens_out = times(calls, config.expected_tokens)
        counts: dict[str, Count] = {"calls": calls, "tokens in": tokens_in, "tokens out": tokens_out}
        if tokens_in is None or tokens_out is None:
            return counts, []
        priced = config.price_in or config.price_out
        cost = f"${config.cost(tokens_in, tokens_out):.2f}" if priced else "give --judge.price-in and --judge.price-out"
        return counts, [f"cost        {cost}"]


def judge_label(
    pairs: Iterable[Pair],
    config: JudgeConfig,
    total: int,
    work: Work,
    scratch: Path,
    write: Callable[[Label], None],
) -> None:
    """Ask about every pair; the votes of one pair follow each other."""
    ballots = ((pair, vote) for pair in pairs for vote in range(config.votes))
    votes: list[Answer] = []
    n_unjudged = 0
    with (work.path / "unjudged.jsonl").open("w", encoding="utf-8") as unjudged:

        def question(ballot: tuple[Pair, int]) -> Question:
            pair, vote = ballot
            seed = vote if config.votes > 1 else None
            plain = pair_messages(pair, config, PLAIN_TASK)
            return Question(pair_messages(pair, config), parse_verdict, SCHEMA, seed, plain)

        def take(ballot: tuple[Pair, int], answer: Answer) -> None:
            nonlocal n_unjudged
            votes.append(answer)
            if len(votes) < config.votes:
                return
            label = _count(ballot[0], votes)
            if label is not None:
                write(label)
            else:
                n_unjudged += 1
                row = {"problem_id": ballot[0].problem.id, "trace_id": ballot[0].trace.id}
                row["raw"] = [vote.raw for vote in votes]  # type: ignore[assignment]
                unjudged.write(json.dumps(row, ensure_ascii=False) + "\n")
            votes.clear()

        totals = ask_all(
            ballots,
            question,
            take,
            server=config,
            log_file=scratch / "answers.jsonl",
            key=lambda ballot: f"{ballot[0].problem.id} {ballot[0].trace.id} {ballot[1]}",
            what="judging",
            total=total * config.votes,
            max_unusable=config.max_unjudged,
        )
    if not n_unjudged:
        (work.path / "unjudged.jsonl").unlink()
    work.ledger.add(tokens_in=totals.tokens_in, tokens_out=totals.tokens_out, calls=totals.calls)
    cost = config.cost(totals.tokens_in, totals.tokens_out)
    work.results |= {"judge_unjudged": n_unjudged, "judge_calls": totals.calls, "judge_cost_dollars": round(cost, 6)}


def _count(pair: Pair, votes: list[Answer]) -> Label | None:
    """The majority of the votes that can be read; None where there is none."""
    cast = [vote.value for vote in votes if vote.value is not None]
    yes = sum(bool(value["relevant"]) for value in cast)
    if not cast or 2 * yes == len(cast):
        return None
    relevant = 2 * yes > len(cast)
    rationale = next(str(value["pattern"]) for value in cast if value["relevant"] == relevant)
    return Label(pair.problem.id, pair.trace.id, relevant, yes / len(cast), "judge", rationale)


def parse_verdict(text: str) -> dict[str, Any] | None:
    """`{"relevant": bool, "pattern": str}` from an answer, or None where it does not say clearly.

    Reads JSON, JSON within prose or code fences, `relevant: yes`, and a bare yes or no at the beginning. Thoughts up to
    `</think>` don't count. Contradicting verdicts make it unclear.
    """
    text = text.rsplit("</think>", 1)[-1].strip()
    objects = _json_objects(text)
    found = [verdict for value in objects if (verdict := _from_object(value)) is not None]
    if not objects:
        said = {word.lower() in YES for word in SAID.findall(text)} or {
            word.lower() in YES for word in BARE.findall(text)
        }
        found = [{"relevant": verdict, "pattern": " ".join(text.split())[:500]} for verdict in sorted(said)]
    return found[-1] if found and len({verdict["relevant"] for verdict in found}) == 1 else None


def _json_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, outermost ones."""
    decoder = json.JSONDecoder(strict=False)
    found: list[dict[str, Any]] = []
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except ValueError:
            end = position + 1
        else:
            if isinstance(value, dict):
                found.append(value)
        position = text.find("{", end)
    return found


def _from_object(value: dict[str, Any]) -> dict[str, Any] | None:
    """The verdict in a JSON object; None where it has none, or one of a type that means nothing."""
    lowered = {str(key).strip().lower(): item for key, item in value.items()}
    said = next((lowered[key] for key in VERDICT_KEYS if key in lowered), None)
    if isinstance(said, str):
        word = said.strip().strip(".").lower()
        said = True if word in YES else False if word in NO else None
    elif isinstance(said, int) and not isinstance(said, bool):
        said = bool(said) if said in (0, 1) else None
    if not isinstance(said, bool):
        return None
    pattern = next((lowered[key] for key in PATTERN_KEYS if isinstance(lowered.get(key), str)), "")
    return {"relevant": said, "pattern": pattern.strip()}
