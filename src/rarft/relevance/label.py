"""Stage 1: label which traces help with which problems.

    rarft label --problems runs/data --traces runs/data --labeler judge \\
        --judge.base-url http://localhost:8000/v1 --judge.model Qwen3-32B --output runs/labels

Candidates are drawn lazily (candidates.py) and given to a labeler (labelers/): `judge` asks a model behind an API
whether the two share a transferable reasoning pattern, `likelihood` and `pass-rate` measure how much the trace helps
the policy itself, `oracle` knows the structures. A cheap labeler can screen for a dear one. Left out: labels that use a
whole list of traces at once.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from pydantic import Field

from rarft.core.cluster import RayConfig
from rarft.core.config import Input, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Count, Estimate, Known, times
from rarft.core.progress import log
from rarft.core.stages import Work, stage
from rarft.models.engines.base import EngineConfig
from rarft.models.prompts import PromptConfig
from rarft.records.analogies import read_ranked
from rarft.records.labels import Label, LabelWriter, read_labels
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.relevance.candidates import CandidateConfig, Candidates, Pair
from rarft.relevance.labelers.base import Labeler, Setting, find_labeler
from rarft.relevance.labelers.judge import JudgeConfig
from rarft.relevance.labelers.likelihood import LikelihoodConfig
from rarft.relevance.labelers.pass_rate import PassRateConfig

SAMPLED_PAIRS, UNKNOWN_CHARACTERS = 2000, 2000


class LabelConfig(RayConfig, EngineConfig):
    problems: Input
    """Problems to label for: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    traces: Input
    """The corpus: same formats."""
    labeler: str = "judge"
    """judge: a model behind an API; likelihood: rise of the policy's log-probability; pass-rate: rise of its accuracy;
    rollouts: rise of the reward in a training run's rollouts; oracle: equal known structures; or module:Class."""
    screen: str = "none"
    """A cheaper labeler that goes first; what it puts at the bottom keeps its label as not relevant, and only the rest
    goes to the labeler."""
    screen_keep: float = Field(0.25, gt=0, le=1)
    """Share of each problem's candidates, best-scored first, that the screen passes on."""
    candidates: CandidateConfig = CandidateConfig()
    analogies: Input | None = None
    """An existing retriever's output (`rarft retrieve`), for candidates.analogies."""
    judge: JudgeConfig = JudgeConfig()
    model: Input | None = None
    """The policy, for likelihood and pass-rate: a Hugging Face id, a folder, or a GGUF file."""
    prompt: PromptConfig = PromptConfig()
    likelihood: LikelihoodConfig = LikelihoodConfig()
    gold_solutions: Input | None = None
    """Traces of the problems themselves, whose solutions the likelihood labeler scores; a `solution` column of the
    problems serves as well."""
    calibrate_on: Input | None = None
    """Labels of another labeler (`rarft label`, for instance pass-rate on a few problems) that the likelihood threshold
    is chosen on."""
    pass_rate: PassRateConfig = PassRateConfig()
    rollouts: Input | None = None
    """Folder of a training run or an evaluation, for labeler rollouts, which labels the pairs that stand in there."""
    structure_column: str = "structure"
    """The column of problems and traces that labeler oracle compares."""
    options: dict[str, Any] = {}
    """Options of a labeler that has no section of its own here."""
    seed: Seed = 0
    """Seed of every random choice."""

    def rewards(self) -> dict[str, str]:
        """As `Config.rewards`."""
        return {"pass-rate.": self.pass_rate.reward} if "pass-rate" in (self.screen, self.labeler) else {}


def estimate(config: LabelConfig, known: Known) -> Estimate:
    """Pairs, and what the labelers would take for them: calls, rollouts, tokens, cost. Nothing is called."""
    problems, traces = known.problems(config.problems), known.traces(config.traces)
    if find_labeler(config.labeler).brings_pairs:
        return Estimate({"problems": problems, "traces": traces, "pairs": None})
    if problems is None or traces is None or known.is_coming(config.problems) or known.is_coming(config.traces):
        per_problem = config.candidates.per_problem if traces is None else min(config.candidates.per_problem, traces)
        pairs, characters = times(problems, per_problem), UNKNOWN_CHARACTERS
    else:
        pairs, characters = _count(_candidates(config, *_records(config)))
    counts: dict[str, Count] = {"problems": problems, "traces": traces, "pairs": pairs}
    notes = []
    left = pairs
    for name in _chain(config):
        more, lines = _labeler(name, config, Setting()).estimate(left, problems, characters)
        counts |= {what: _plus(counts.get(what, 0), count) for what, count in more.items()}
        notes += lines
        if name == config.screen:
            left = times(left, config.screen_keep)
            notes.append(f"screened by {name}; about {left if left is not None else '?'} pairs go on to the labeler")
    return Estimate(counts, notes=tuple(notes))


def _plus(a: Count, b: Count) -> Count:
    return None if a is None or b is None else a + b


def _count(candidates: Candidates) -> tuple[int, int]:
    """Number of pairs, and the mean length in characters of some."""
    step = max(1, candidates.upper_bound() // SAMPLED_PAIRS)
    n_pairs = sampled = characters = 0
    for i, (problem, trace) in enumerate(candidates):
        n_pairs += 1
        if i % step == 0:
            sampled += 1
            characters += len(problem.question) + len(trace.problem) + len(trace.solution)
    return n_pairs, characters // max(sampled, 1)


@stage("label", "stage 1: which trace helps with which problem", place=20, estimate=estimate, version=2)
def label(config: LabelConfig, work: Work) -> None:
    """Label which traces help with which problems.

    Writes labels.parquet (`problem_id, trace_id, relevant, score, labeler, rationale`), and unjudged.jsonl where the
    judge gave no usable answer for a pair.

    Raises:
        InputError: bad input, a server or model that can't be used, or too many unjudged pairs.
    """
    if config.labeler == config.screen:
        raise InputError(f"screen and labeler are both {config.labeler}; a screen is another, cheaper labeler")
    for name in _chain(config):  # what is wrong with an option shows before files are read
        _labeler(name, config, Setting(model=config.model, rollouts=config.rollouts)).check()
    if config.screen != "none" and any(find_labeler(name).brings_pairs for name in _chain(config)):
        raise InputError(f"labeler {config.labeler} with screen {config.screen}: one of them brings its own pairs")
    problems, traces = _records(config)
    setting = Setting(
        problems=list(problems.values()),
        problems_path=config.problems,
        traces=list(traces.values()),
        model=config.model,
        engine=config.engine,
        ray=config.ray,
        vllm=config.vllm,
        prompt=config.prompt,
        gold_solutions=config.gold_solutions,
        calibrate_on=config.calibrate_on,
        rollouts=config.rollouts,
        structure_column=config.structure_column,
        seed=config.seed,
    )
    labeler = _labeler(config.labeler, config, setting)
    candidates: Candidates | Sequence[Pair]
    if labeler.brings_pairs:
        candidates = labeler.pairs(problems, traces)
        total = len(candidates)
    else:
        candidates = _candidates(config, problems, traces)
        total = candidates.upper_bound()
    with LabelWriter(work.path / "labels.parquet") as out:
        if config.screen == "none":
            labeler.label(candidates, total, work, work.scratch, out.write)
        else:
            screened = work.scratch / "screened.parquet"
            with LabelWriter(screened) as screen_out:
                screen = _labeler(config.screen, config, setting)
                screen.label(candidates, total, work, _folder(work, "screen"), screen_out.write)
            log(f"{config.screen} has screened {screen_out.count} pairs; {config.labeler} decides the best of them")
            merge = _Merge(screened, config, out.write)
            pairs = Kept(screened, config.screen_keep, problems, traces)
            labeler.label(pairs, len(pairs), work, _folder(work, "decide"), merge.write)
            merge.finish()
    if not out.count:
        raise InputError(f"{config.problems}: no pair could be labelled; every candidate was left out or unjudged")
    work.results |= {"n_pairs": out.count, "n_relevant": out.n_relevant}
    log(f"labelled {out.count} pairs, {out.n_relevant} of them relevant")


def _chain(config: LabelConfig) -> list[str]:
    """The labelers in the order in which they go."""
    return [config.labeler] if config.screen == "none" else [config.screen, config.labeler]


def _labeler(name: str, config: LabelConfig, setting: Setting) -> Labeler:
    """The labeler of that name with its section of the config, or with `options` where it has none."""
    found = find_labeler(name)
    section = getattr(config, name.replace("-", "_"), None)
    options = section if isinstance(section, found.Options) else found.Options.parse(config.options, f"labeler {name}")
    return found(options, setting)


def _records(config: LabelConfig) -> tuple[Mapping[str, Problem], Mapping[str, Trace]]:
    problems, traces = load_problems(config.problems), load_traces(config.traces)
    return {p.id: p for p in problems}, {t.id: t for t in traces}


def _candidates(config: LabelConfig, problems: Mapping[str, Problem], traces: Mapping[str, Trace]) -> Candidates:
    ranked = read_ranked(config.analogies) if config.analogies is not None else None
    return Candidates(list(problems.values()), list(traces.values()), config.candidates, config.seed, ranked)


def _folder(work: Work, name: str) -> Path:
    folder = work.scratch / name
    folder.mkdir(exist_ok=True)
    return folder


class Kept:
    """The pairs that a screen passes on: each problem's best-scored share. Iterating twice gives the same pairs."""

    def __init__(
        self, screened: Path, keep: float, problems: Mapping[str, Problem], traces: Mapping[str, Trace]
    ) -> None:
        self.screened, self.keep, self.problems, self.traces = screened, keep, problems, traces

    def __len__(self) -> int:
        return sum(kept for _, kept in kept_rows(self.screened, self.keep))

    def __iter__(self) -> Iterator[Pair]:
        for row, kept in kept_rows(self.screened, self.keep):
            if kept:
                yield Pair(self.problems[row.problem_id], self.traces[row.trace_id])


def kept_rows(screened: Path, keep: float) -> Iterator[tuple[Label, bool]]:
    """Every screened row, and whether it is among its problem's best share (rounded up)."""
    for _, group in groupby(read_labels(str(screened)), key=lambda row: row.problem_id):
        rows = list(group)
        best = sorted(range(len(rows)), key=lambda i: -rows[i].score)
        kept = set(islice(best, math.ceil(keep * len(rows))))
        for i, row in enumerate(rows):
            yield row, i in kept


class _Merge:
    """Puts the labeler's rows between those that the screen decided, in the candidates' order."""

    def __init__(self, screened: Path, config: LabelConfig, write: Callable[[Label], None]) -> None:
        self._rows = kept_rows(screened, config.screen_keep)
        self._write = write

    def write(self, decided: Label) -> None:
        """Write what the screen decided before this pair, then this pair."""
        for row, kept in self._rows:
            if kept and (row.problem_id, row.trace_id) == (decided.problem_id, decided.trace_id):
                break
            self._screened_out(row, kept)
        self._write(decided)

    def finish(self) -> None:
        """Write what the screen decided after the last pair."""
        for row, kept in self._rows:
            self._screened_out(row, kept)

    def _screened_out(self, row: Label, kept: bool) -> None:
        if not kept:  # a kept row that comes by here is one the labeler could not judge
            self._write(row._replace(relevant=False, rationale=f"screened out; {row.rationale}"))
