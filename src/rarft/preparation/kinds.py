"""Kinds: the coarse type of a problem, within which candidates are drawn.

Taken from the rows' `kind` column; for rows without one, asked of a model once per problem, or found by clustering
embeddings of problems and traces together. Left out: hierarchies, several kinds for one problem.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rarft.core.config import Count
from rarft.core.errors import InputError
from rarft.core.progress import track
from rarft.core.stages import Work
from rarft.llm.answers import Answer, Question, ask_all, without_thoughts
from rarft.llm.client import ServerConfig
from rarft.records.problems import Problem, Trace, iter_records
from rarft.records.rows import write_jsonl

KINDS = [
    *("arithmetic", "algebra", "geometry", "number theory", "combinatorics", "probability"),
    *("calculus", "linear algebra", "logic", "other"),
]
BATCH = 256
FIT_SAMPLE = 50_000


class KindsConfig(ServerConfig):
    by: Literal["column", "judge", "clusters"] = "column"
    """Where a row has no kind: column leaves it so, judge asks the model below, clusters groups by embeddings."""
    names: list[str] = Field(KINDS, min_length=1)
    """The kinds to choose from, for judge."""
    clusters: Count = 16
    """How many clusters, for clusters."""
    embedding_model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Sentence-transformers model, for clusters."""
    max_tokens: Count = 128
    """Most tokens of one answer."""


def fill_in_kinds(config: KindsConfig, problems: Path, traces: Path, work: Work, seed: int) -> int:
    """Write problems.jsonl and traces.jsonl into the stage's folder, kinds filled in.

    Args:
        problems, traces: the rows so far.

    Returns:
        The number of traces.

    Raises:
        InputError: the server can't be used, or there are fewer rows than clusters.
    """
    kinds: dict[tuple[str, str], str] = {}
    if config.by == "judge":
        kinds = _ask(config, problems, traces, work)
    elif config.by == "clusters":
        kinds = _cluster(config, problems, traces, seed)

    def rows(record: type[Any], path: Path, name: str) -> Iterator[dict[str, Any]]:
        for found in _records(record, path):
            kind = found.kind or kinds.get((name, found.id))
            yield found.as_row() | ({"kind": kind} if kind else {})

    write_jsonl(work.path / "problems.jsonl", rows(Problem, problems, "problem"))
    n_traces = write_jsonl(work.path / "traces.jsonl", rows(Trace, traces, "trace")) if traces.stat().st_size else 0
    if config.by != "column":
        work.results["kinds_filled_in"] = len(kinds)
    return n_traces


def _records(record: type[Any], path: Path) -> Iterator[Any]:
    yield from iter_records(record, str(path))


def _without_kind(problems: Path, traces: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """`((problem|trace, id), text)` of every row that has no kind."""
    for problem in _records(Problem, problems):
        if not problem.kind:
            yield ("problem", problem.id), problem.question
    for trace in _records(Trace, traces):
        if not trace.kind:
            yield ("trace", trace.id), trace.problem


def _ask(config: KindsConfig, problems: Path, traces: Path, work: Work) -> dict[tuple[str, str], str]:
    """One question per row without a kind; no usable answer means the last of the names."""
    kinds: dict[tuple[str, str], str] = {}
    names = "\n".join(f"- {name}" for name in config.names)
    task = f"Which kind of problem is this? Choose one of:\n{names}\n\nProblem:\n"
    schema = {
        "type": "object",
        "properties": {"kind": {"type": "string", "enum": config.names}},
        "required": ["kind"],
        "additionalProperties": False,
    }

    def question(item: tuple[tuple[str, str], str]) -> Question:
        content = task + item[1] + '\n\nAnswer with JSON and nothing else: {"kind": "..."}'
        again = task + item[1] + "\n\nAnswer with one of the kinds in the list and nothing else."
        return Question(
            [{"role": "user", "content": content}],
            lambda text: parse_kind(text, config.names),
            schema,
            again=[{"role": "user", "content": again}],
        )

    def take(item: tuple[tuple[str, str], str], answer: Answer) -> None:
        kinds[item[0]] = answer.value or config.names[-1]

    totals = ask_all(
        _without_kind(problems, traces),
        question,
        take,
        server=config,
        scratch=work.scratch,
        what="asking for kinds",
        name="kinds",
        total=sum(1 for _ in _without_kind(problems, traces)),
    )
    work.ledger.add(tokens_in=totals.tokens_in, tokens_out=totals.tokens_out, calls=totals.calls)
    work.results |= {"kinds_unanswered": totals.unusable, "kinds_reused": totals.reused}
    return kinds


def parse_kind(text: str, names: list[str]) -> str | None:
    """The kind that an answer names, or None: JSON where it is JSON, else the only name that occurs in it."""
    text = without_thoughts(text)
    try:
        value = json.loads(text[text.index("{") : text.rindex("}") + 1]).get("kind")
        text = value if isinstance(value, str) else ""
    except (ValueError, AttributeError, RecursionError):
        pass
    found = [name for name in names if re.search(rf"\b{re.escape(name.lower())}\b", text.lower())]
    longest = [name for name in found if not any(name != other and name in other for other in found)]
    return longest[0] if len(longest) == 1 else None


def _cluster(config: KindsConfig, problems: Path, traces: Path, seed: int) -> dict[tuple[str, str], str]:
    """k-means on unit embeddings, fitted on a sample and applied to all rows without a kind."""
    from sentence_transformers import SentenceTransformer
    from sklearn.cluster import MiniBatchKMeans

    keys: list[tuple[str, str]] = []
    texts: list[str] = []
    vectors: list[Any] = []
    model = SentenceTransformer(config.embedding_model)

    def embed() -> None:
        vectors.append(model.encode(texts, normalize_embeddings=True, show_progress_bar=False).astype(np.float16))
        texts.clear()

    for key, text in track(_without_kind(problems, traces), "embedding for kinds"):
        keys.append(key)
        texts.append(text)
        if len(texts) == BATCH:
            embed()
    if texts:
        embed()
    if not keys:
        return {}
    if len(keys) < config.clusters:
        raise InputError(f"{len(keys)} rows cannot make {config.clusters} clusters; lower --kinds.clusters")
    matrix = np.concatenate(vectors).astype(np.float32)
    sample = np.random.default_rng(seed).permutation(len(matrix))[:FIT_SAMPLE]
    means = MiniBatchKMeans(config.clusters, random_state=seed, n_init=3, batch_size=1024).fit(matrix[sample])
    return {key: f"cluster {label}" for key, label in zip(keys, means.predict(matrix).tolist(), strict=True)}
