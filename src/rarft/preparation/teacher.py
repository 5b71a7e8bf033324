"""A teacher model writes traces: for corpus problems that have only an answer, or whose solution is a mess.

A written solution counts only if the verifier finds the gold answer in it; otherwise the teacher is asked afresh, and
after `asks` times the trace is dropped and listed. The teacher is not shown the gold answer, so a right one was
reasoned to; where there is an old solution it is shown that. Left out: judging style or length.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rarft.core.config import Count
from rarft.core.stages import Work
from rarft.llm.answers import Answer, Question, ask_all, without_thoughts
from rarft.llm.client import Message, ServerConfig
from rarft.records.problems import Trace, iter_records
from rarft.records.rows import as_line
from rarft.rewards import verify

WRITE = """Solve the problem. Write a worked solution that a student could learn the method from: short numbered \
steps, each saying what is done and why. Put the final answer in \\boxed{}."""
CONDENSE = """Below are a problem and a solution that is long, messy or says too little. Rewrite the solution as short \
numbered steps, each saying what is done and why. Keep its method. Put the final answer in \\boxed{}."""


class TeacherConfig(ServerConfig):
    rewrite: Literal["missing", "all"] = "missing"
    """missing: write the solutions that are empty; all: also condense the ones that are there."""
    temperature: float = Field(0.6, ge=0, le=2)
    """Sampling temperature; above 0, so that asking again can help."""
    max_tokens: Count = 4096
    """Most tokens of one written solution."""


def write_traces(
    config: TeacherConfig,
    traces: Path,
    work: Work,
    remove: Callable[..., None],
    verifier: str,
    seed: int,
) -> Path:
    """Fill in the solutions that the teacher is to write.

    Args:
        traces: traces.jsonl, where a solution may be empty.
        remove: told of every trace that is dropped, `remove(trace, reason, **details)`.
        verifier: the reward that has to find the gold answer in what was written.

    Returns:
        A file beside `traces` with the traces that are left.

    Raises:
        InputError: the server can't be used; what was written so far is kept for the next run.
    """
    total = sum(1 for _ in _to_write(config, traces))
    written = traces.with_name("taught.jsonl")
    with written.open("w", encoding="utf-8") as out:

        def keep(trace: Trace) -> None:
            out.write(as_line(trace))

        def take(trace: Trace, answer: Answer) -> None:
            if answer.value is None:
                reason = "no right solution from the teacher" if trace.answer else "no answer to check the teacher by"
                remove(trace, reason, last=answer.raw[-300:])
                return
            extra = {**trace.extra, "written_by": config.model}
            keep(Trace(trace.id, trace.problem, answer.value, trace.answer, trace.kind, trace.source, extra))

        for trace in _records(traces):
            if not _needs_teacher(config, trace):
                keep(trace)
        totals = ask_all(
            _to_write(config, traces),
            lambda trace: _question(trace, verifier, seed),
            take,
            server=config,
            scratch=work.scratch,
            what="writing traces",
            name="teacher",
            total=total,
        )
    work.ledger.add(tokens_in=totals.tokens_in, tokens_out=totals.tokens_out, calls=totals.calls)
    work.results |= {"n_written_by_teacher": totals.answers - totals.unusable, "teacher_reused": totals.reused}
    return written


def _records(traces: Path) -> Iterator[Trace]:
    return iter_records(Trace, str(traces), may_be_empty={"solution"})


def _needs_teacher(config: TeacherConfig, trace: Trace) -> bool:
    return config.rewrite == "all" or not trace.solution.strip()


def _to_write(config: TeacherConfig, traces: Path) -> Iterator[Trace]:
    return (trace for trace in _records(traces) if _needs_teacher(config, trace))


def _question(trace: Trace, verifier: str, seed: int) -> Question:
    """Ask for a solution; reading it checks the final answer."""
    task = (
        f"{CONDENSE}\n\nProblem:\n{trace.problem}\n\nSolution:\n{trace.solution}"
        if trace.solution.strip()
        else (f"{WRITE}\n\nProblem:\n{trace.problem}")
    )

    def parse(text: str) -> Any:
        solution = without_thoughts(text)
        if not solution:
            return None
        name = "math" if verifier == "none" else verifier
        extra = {**trace.extra, "question": trace.problem}
        return solution if verify([trace.answer or ""], [solution], name=name, extras=[extra])[0].reward >= 1 else None

    messages: list[Message] = [{"role": "user", "content": task}]
    return Question(messages, parse, seed=seed, slow_parse=True)
