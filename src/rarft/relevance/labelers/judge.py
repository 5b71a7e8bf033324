"""The judge: a model behind an API says whether a trace's reasoning carries over to a problem.

The prompt asks for the shared transferable pattern by name first, then for yes or no. Structured output is asked for
where the server has it; relevance/verdict.py reads what comes back. After an unclear answer the judge is asked for one
word; then the pair is listed in unjudged.jsonl with the raw text, never taken for a no. Left out: graded judgements,
several pairs in one request.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from rarft.core.config import NotInResult, Share
from rarft.core.errors import InputError
from rarft.core.estimate import Count, times
from rarft.core.stages import Work
from rarft.llm.answers import Answer, Question, ask_all
from rarft.llm.client import Message, ServerConfig, check_server
from rarft.records.labels import Label
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Write
from rarft.relevance.verdict import parse_verdict

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


class JudgeConfig(ServerConfig):
    max_tokens: int = Field(256, ge=1)
    """Most tokens of one answer."""
    votes: int = Field(1, ge=1, le=99)
    """Answers per pair, an odd number; the majority decides and the score is the share of yes. More than 1 needs a
    temperature above 0."""
    solution_characters: int = Field(6000, ge=1)
    """Most characters of a trace's solution that the judge sees."""
    max_unjudged: Annotated[Share, NotInResult] = 0.05
    """Share of pairs without a usable answer above which the stage fails."""
    expected_tokens: Annotated[int, NotInResult] = Field(48, ge=0)
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
            scratch=scratch,
            what="judging",
            total=total * config.votes,
            max_unusable=config.max_unjudged,
        )
    if not n_unjudged:
        (work.path / "unjudged.jsonl").unlink()
    work.ledger.add(tokens_in=totals.tokens_in, tokens_out=totals.tokens_out, calls=totals.calls)
    work.results |= {
        "judge_unjudged": n_unjudged,
        "judge_calls": totals.calls,
        "judge_reused": totals.reused,
        "judge_cost_dollars": round(config.cost(totals.tokens_in, totals.tokens_out), 6),
    }


def _count(pair: Pair, votes: list[Answer]) -> Label | None:
    """The majority of the votes that can be read; None where there is none."""
    cast = [vote.value for vote in votes if vote.value is not None]
    yes = sum(bool(value["relevant"]) for value in cast)
    if not cast or 2 * yes == len(cast):
        return None
    relevant = 2 * yes > len(cast)
    rationale = next(str(value["pattern"]) for value in cast if value["relevant"] == relevant)
    return Label(pair.problem.id, pair.trace.id, relevant, yes / len(cast), "judge", rationale)
