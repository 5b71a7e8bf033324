"""Retrieve analogies: for each problem its best traces, without the problem's own answer among them.

`rarft retrieve --problems P --index I --top-k K --output DIR`

For a problem `q`: the index's best traces, less those whose own problem is near-identical to `q` (the answer-leak
guard, `records/same_problem.py`), less those below the minimum score, and from what is left `top_k`, by score or,
with `diversity` d > 0, one after the other by `(1 - d) * s(q, c) - d * max over chosen c' of s(c, c')` (maximal
marginal relevance, Carbonell and Goldstein, 1998). A problem for which nothing is left gets no row; later stages give
it no demonstration.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, field_validator

from rarft.core.config import Config, Input, NotInResult, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import log, track
from rarft.core.stages import Work, stage
from rarft.records.analogies import ANALOGIES, Analogy, write_analogies
from rarft.records.problems import load_problems
from rarft.records.same_problem import near_identical
from rarft.retriever.maxsim import scores
from rarft.retriever.trace_index import Hit, TraceIndex

SPARE = 8
CHUNK = 512


class RetrieveConfig(Config):
    """Find the best traces for each problem."""

    problems: list[Input]
    """Problems, one or several of: JSONL, Parquet, CSV, a `rarft prepare` folder, a Hugging Face dataset id, or the
    names aime24, aime25, hmmt25, brumo25."""
    index: Input
    """A `rarft index` folder."""
    top_k: int = Field(1, ge=1)
    """Traces per problem, at most."""
    min_score: float | None = None
    """Traces below it are left out. Mean MaxSim or cosine in [-1, 1]; of a bm25 index the BM25 score."""
    diversity: float = Field(0.0, ge=0, le=1)
    """Weight d in [0, 1] of being unlike the traces already chosen (maximal marginal relevance); 0: score alone."""
    guard: bool = True
    """Never return a trace of the same or a near-identical problem, which would give the answer away."""
    retriever: Input | None = None
    """Where the index's retriever lies now, if it has moved; default where it was when the index was built."""
    batch_size: Annotated[int, NotInResult] = Field(64, ge=1)
    """Problems per forward pass."""
    seed: Seed = 0
    """Seed of a `random` index."""

    @field_validator("problems", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@dataclass
class Found:
    """What a search brought."""

    hits: list[list[Hit]] = field(default_factory=list)
    """Per problem, best first."""
    blocked: list[int] = field(default_factory=list)
    """Per problem: near-identical traces that would have been returned but for the guard."""


def estimate(config: RetrieveConfig, known: Known) -> Estimate:
    """Searches."""
    counts = [known.problems(path) for path in config.problems]
    return Estimate({"queries": None if None in counts else sum(count or 0 for count in counts)})


@stage("retrieve", "the top-k traces for each problem", place=60, estimate=estimate, version=2)
def retrieve(config: RetrieveConfig, work: Work) -> None:
    """Retrieve analogies for all problems.

    Writes `analogies.parquet` (problem_id, rank from 1, trace_id, score); results: problems, problems without a trace,
    traces blocked by the guard and for how many problems, how the index was searched.

    Raises:
        InputError: bad problems, top-k above the number of traces, an index of another retriever.
    """
    problems = [problem for path in config.problems for problem in load_problems(path)]
    if len({problem.id for problem in problems}) < len(problems):
        raise InputError(f"{', '.join(config.problems)}: share ids; make ids unique over all files")
    index = TraceIndex(config.index, retriever=config.retriever, batch_size=config.batch_size, seed=config.seed)
    check_top_k(index, config.top_k)
    rows, blocked, without = [], [], 0
    for at in track(range(0, len(problems), CHUNK), f"retrieving ({CHUNK} problems a step)"):
        chunk = problems[at : at + CHUNK]
        found = find_analogies(
            index,
            [problem.question for problem in chunk],
            config.top_k,
            min_score=config.min_score,
            diversity=config.diversity,
            guard=config.guard,
        )
        blocked += found.blocked
        for problem, hits in zip(chunk, found.hits, strict=True):
            without += not hits
            for rank, hit in enumerate(hits, start=1):
                rows.append(Analogy(problem.id, rank, hit.trace_id, hit.score))
    write_analogies(work.path / ANALOGIES, rows)
    work.results |= {
        "n_problems": len(problems),
        "n_analogies": len(rows),
        "n_without": without,
        "n_blocked": sum(blocked),
        "n_problems_with_blocked": sum(count > 0 for count in blocked),
        "search": index.search_type,
    }
    log(
        f"{len(rows)} analogies for {len(problems)} problems ({without} without); the answer-leak guard blocked "
        f"{sum(blocked)} traces"
    )


def check_top_k(index: TraceIndex, top_k: int) -> None:
    """Raise InputError unless 1 <= top_k <= number of traces."""
    if top_k < 1:
        raise InputError(f"top-k is {top_k}; ask for 1 or more")
    if top_k > len(index):
        raise InputError(
            f"{index.folder}: top-k is {top_k}, but the index holds {len(index)} traces; ask for fewer or add traces"
        )


def find_analogies(
    index: TraceIndex,
    questions: Sequence[str],
    top_k: int = 1,
    *,
    min_score: float | None = None,
    diversity: float = 0.0,
    guard: bool = True,
) -> Found:
    """The analogies of one problem or many, best first. As `RetrieveConfig` has it.

    Raises:
        InputError: top-k is below 1 or above the number of traces.
    """
    check_top_k(index, top_k)
    size = len(index)
    result = Found([[] for _ in questions], [0] * len(questions))
    wanted = top_k if diversity == 0 else max(4 * top_k, 20)
    fetch = min(size, wanted + (SPARE if guard else 0))
    open_ones = list(range(len(questions)))
    while open_ones:
        found = index.search([questions[i] for i in open_ones], fetch)
        again = []
        for i, hits in zip(open_ones, found, strict=True):
            kept, blocked = _guarded(questions[i], hits, wanted) if guard else (hits[:wanted], 0)
            if len(kept) < wanted and len(hits) == fetch and fetch < size:
                again.append(i)  # the guard took so many that there may be more below
                continue
            if min_score is not None:
                kept = [hit for hit in kept if hit.score >= min_score]
            result.hits[i], result.blocked[i] = kept, blocked
        open_ones, fetch = again, min(size, 4 * fetch)
    if diversity:
        result.hits = [_diverse(index, hits, top_k, diversity) for hits in result.hits]
    return result


def _guarded(question: str, hits: Sequence[Hit], wanted: int) -> tuple[list[Hit], int]:
    """The first `wanted` hits that are not near-identical, and how many were blocked before the last of them."""
    kept: list[Hit] = []
    blocked = 0
    for hit in hits:
        if len(kept) == wanted:
            break
        if near_identical(question, hit.problem):
            blocked += 1
        else:
            kept.append(hit)
    return kept, blocked


def _diverse(index: TraceIndex, hits: list[Hit], top_k: int, diversity: float) -> list[Hit]:
    """Maximal marginal relevance. Baselines without vectors keep their order."""
    vectors = index.vectors(hit.trace_id for hit in hits)
    if len(hits) < 2 or not vectors:
        return hits[:top_k]
    arrays = [vectors[hit.trace_id] for hit in hits]
    alike = scores(arrays, arrays)
    chosen: list[int] = []
    while len(chosen) < min(top_k, len(hits)):
        left = [i for i in range(len(hits)) if i not in chosen]
        value = [
            (1 - diversity) * hits[i].score - diversity * max((float(alike[i, j]) for j in chosen), default=0.0)
            for i in left
        ]
        chosen.append(left[value.index(max(value))])
    return [hits[i] for i in chosen]
