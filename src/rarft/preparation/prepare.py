"""Make a clean set of problems and traces: checked, without duplicates, without what the benchmarks hold.

    rarft prepare --problems P.jsonl --traces T.jsonl --benchmarks aime24.jsonl aime25.jsonl --output runs/data

In order: every row is checked, gold answers included; problems and traces that share an n-gram with a benchmark go;
traces that repeat a training problem or an earlier trace go; a teacher writes missing solutions, where one is given;
kinds are filled in. What went is listed in removed.jsonl with the reason. Rows are read one at a time: memory holds
the problems' texts for the duplicate check, not the solutions. Left out: translation, difficulty filtering.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from rarft.core.config import Count, Input, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known, Sizes
from rarft.core.progress import log, track
from rarft.core.stages import Work, stage
from rarft.preparation.kinds import KindsConfig, fill_in_kinds
from rarft.preparation.teacher import TeacherConfig, write_traces
from rarft.records.decontaminate import Decontaminator, Overlap
from rarft.records.problems import Problem, Record, Trace, iter_records
from rarft.records.rows import as_line, write_jsonl
from rarft.records.same_problem import TEMPLATE_SHARE, DuplicateIndex
from rarft.rewards import check_gold
from rarft.rewards.sandbox import RewardConfig


class PrepareConfig(RewardConfig):
    reward_field = "verifier"

    problems: Input
    """Training problems, columns id, question, answer, kind?, source?: JSONL, Parquet, CSV, or a Hugging Face dataset
    as name[:config[:split]]."""
    traces: Input
    """The corpus, columns id, problem, solution, answer?, kind?, source?: same formats."""
    max_problems: Count | None = None
    """Keep at most this many problems, drawn by the seed, in their order; all when not given."""
    max_traces: Count | None = None
    """The same for traces."""
    benchmarks: list[Input] = []
    """Evaluation problems; what shares an n-gram with one of them is removed."""
    problem_columns: dict[str, str] = {}
    """Our column name: the column's name in the problems file."""
    trace_columns: dict[str, str] = {}
    """Our column name: the column's name in the traces file."""
    benchmark_columns: dict[str, str] = {}
    """For `question`: the column's name in the benchmark files; question, problem or prompt are found unaided."""
    skip_bad_rows: bool = False
    """Write unusable rows with the reason to rejected_problems.jsonl and rejected_traces.jsonl instead of failing."""
    verifier: str = "math"
    """Verifier that has to understand each gold answer; none to leave answers unchecked."""
    near_duplicates: float = Field(TEMPLATE_SHARE, gt=0, le=1)
    """Share of word triples (numbers and names masked) from which two problems are the same; 1 drops exact repetitions
    alone."""
    ngram: Count = 8
    """Words in a row shared with a benchmark that make a problem or trace contaminated."""
    stock_phrase: Count | None = None
    """An n-gram that this many different benchmark questions share is a turn of phrase ("where m and n are relatively
    prime positive integers") and no contamination; none: every shared n-gram is, as in the paper."""
    teacher: TeacherConfig = TeacherConfig()
    kinds: KindsConfig = KindsConfig()
    seed: Seed = 0
    """Seed of every random choice."""


def estimate(config: PrepareConfig, known: Known) -> Estimate:
    """Rows that go in; duplicates and contaminated ones are not known yet."""
    problems, traces = known.problems(config.problems), known.traces(config.traces)
    if problems is not None and config.max_problems is not None:
        problems = min(problems, config.max_problems)
    if traces is not None and config.max_traces is not None:
        traces = min(traces, config.max_traces)
    return Estimate({"problems": problems, "traces": traces}, {"": Sizes(problems, traces)})


@stage("prepare", "check, deduplicate and decontaminate problems and traces", place=10, estimate=estimate)
def prepare(config: PrepareConfig, work: Work) -> None:
    """Check, deduplicate and decontaminate problems and traces.

    Writes problems.jsonl, traces.jsonl, and removed.jsonl: a row `what, id, reason, ...` for each record left out.

    Raises:
        InputError: bad rows (unless skipped), or nothing left of the problems or the traces.
    """
    for name in ("problems", "traces"):
        (work.path / f"rejected_{name}.jsonl").unlink(missing_ok=True)
    contaminated = Decontaminator(config.ngram, config.stock_phrase)
    for benchmark in config.benchmarks:
        contaminated.read(benchmark, config.benchmark_columns)
    duplicates = DuplicateIndex(config.near_duplicates)
    problems, traces = work.scratch / "problems.jsonl", work.scratch / "traces.jsonl"
    with (work.path / "removed.jsonl").open("w", encoding="utf-8") as removed_file:
        counts: Counter[str] = Counter()

        def remove(record: Problem | Trace, reason: str, **details: Any) -> None:
            what = type(record).__name__.lower()
            counts[f"{what}s {reason}"] += 1
            removed_file.write(as_line({"what": what, "id": record.id, "reason": reason, **details}))

        n_problems = write_jsonl(problems, _clean_problems(config, work.path, contaminated, duplicates, remove))
        n_traces = write_jsonl(traces, _clean_traces(config, work.path, contaminated, duplicates, remove))
        _complain_if_empty(config, n_problems, n_traces, counts)
        if config.teacher.base_url is not None:
            traces = write_traces(config.teacher, traces, work, remove, config.verifier, config.seed)
    n_traces = fill_in_kinds(config.kinds, problems, traces, work, config.seed)
    _complain_if_empty(config, n_problems, n_traces, counts)
    for name in ("problems", "traces"):
        rejected = work.path / f"rejected_{name}.jsonl"
        if rejected.is_file():
            counts[f"{name} rejected"] = sum(1 for _ in rejected.open(encoding="utf-8"))
    work.results |= {"n_problems": n_problems, "n_traces": n_traces, "removed": dict(sorted(counts.items()))}
    went = ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "nothing"
    log(f"kept {n_problems} problems and {n_traces} traces; removed {went}")


Remove = Callable[..., None]


def _clean_problems(
    config: PrepareConfig, folder: Path, contaminated: Decontaminator, duplicates: DuplicateIndex, remove: Remove
) -> Iterator[dict[str, Any]]:
    """The problems that stay, as rows; their texts join `duplicates`. Repeated training problems stay."""
    records = iter_records(
        Problem,
        config.problems,
        config.problem_columns,
        folder / "rejected_problems.jsonl" if config.skip_bad_rows else None,
        check=_gold_check(config.verifier),
    )
    for problem in track(_sample(records, config.max_problems, config.seed), "checking problems"):
        overlap = contaminated.find(problem.question)
        if overlap:
            remove(problem, "contaminated", **_where(overlap))
            continue
        duplicates.find_or_add(f"problem {problem.id}", problem.question)
        yield problem.as_row()


def _clean_traces(
    config: PrepareConfig, folder: Path, contaminated: Decontaminator, duplicates: DuplicateIndex, remove: Remove
) -> Iterator[dict[str, Any]]:
    """The traces that stay, as rows."""
    taught = config.teacher.base_url is not None
    records = iter_records(
        Trace,
        config.traces,
        config.trace_columns,
        folder / "rejected_traces.jsonl" if config.skip_bad_rows else None,
        check=_gold_check(config.verifier) if taught else None,
        may_be_empty={"solution"} if taught else (),
    )
    for trace in track(_sample(records, config.max_traces, config.seed), "checking traces"):
        overlap = contaminated.find(trace.problem) or contaminated.find(trace.solution)
        if overlap:
            remove(trace, "contaminated", **_where(overlap))
            continue
        match = duplicates.find_or_add(f"trace {trace.id}", trace.problem)
        if match:
            reason = "duplicate" if match.rule == "text" else "near-duplicate"
            remove(trace, reason, of=match.key, by=match.rule, similarity=round(match.similarity, 3))
            continue
        yield trace.as_row()


def _sample(records: Iterator[Record], most: int | None, seed: int) -> Iterable[Record]:
    """All records, one at a time; or `most` of them, drawn by the seed, in their order."""
    if most is None:
        return records
    everything = list(records)
    if most >= len(everything):
        return everything
    return [everything[i] for i in sorted(random.Random(seed).sample(range(len(everything)), most))]


def _gold_check(verifier: str) -> Callable[[Any], None] | None:
    """A check that the verifier understands a record's answer; it raises ValueError."""
    if verifier == "none":
        return None

    def check(record: Problem | Trace) -> None:
        if isinstance(record, Problem) or record.answer is not None:
            check_gold(record.answer or "", verifier, extra=record.extra)

    return check


def _where(overlap: Overlap) -> dict[str, Any]:
    return {"benchmark": overlap.benchmark, "row": overlap.row, "ngram": overlap.ngram}


def _complain_if_empty(config: PrepareConfig, n_problems: int, n_traces: int, counts: Counter[str]) -> None:
    for path, n, name in ((config.problems, n_problems, "problems"), (config.traces, n_traces, "traces")):
        if not n:
            why = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if what.startswith(name))
            raise InputError(f"{path}: no {name} are left ({why}); the corpus must hold other problems than the rest")
