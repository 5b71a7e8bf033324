"""Stage 1: label which traces help with which problems.

    rarft label --problems runs/data --traces runs/data --labeler judge \\
        --judge.base-url http://localhost:8000/v1 --judge.model Qwen3-32B --output runs/labels

Candidates are drawn lazily (candidates.py) and given to a labeler: `judge` asks a model behind an API whether the two
share a transferable reasoning pattern (judge.py), `likelihood` and `pass-rate` measure how much the trace helps the
policy itself (likelihood.py, pass_rate.py), `oracle` knows the structures (oracle.py). A cheap labeler can screen for a
dear one. Left out: labels that use a whole list of traces at once.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import ClassVar, Literal

from rarft.core.artifacts import Work, stage
from rarft.core.config import Config, Input
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.llm.client import SERVER_FIELDS_NOT_IN_FINGERPRINT, check_server
from rarft.models.prompts import PromptConfig
from rarft.records.analogies import read_analogies
from rarft.records.labels import Label, LabelWriter, read_labels
from rarft.records.problems import Problem, Trace, load_problems, load_traces, require_answers
from rarft.relevance.candidates import CandidateConfig, Candidates, Pair
from rarft.relevance.labelers.judge import JudgeConfig, judge_label, pair_messages
from rarft.relevance.labelers.likelihood import LikelihoodConfig, likelihood_label
from rarft.relevance.labelers.oracle import oracle_label
from rarft.relevance.labelers.pass_rate import PassRateConfig, pass_rate_label

Labeler = Literal["judge", "likelihood", "pass-rate", "oracle"]
DRY_RUN_SAMPLE = 2000


class LabelConfig(Config):
    problems: Input
    """Problems to label for: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    traces: Input
    """The corpus: same formats."""
    labeler: Labeler = "judge"
    """judge: a model behind an API; likelihood: rise of the policy's log-probability; pass-rate: rise of its accuracy;
    oracle: equal known structures."""
    screen: Literal["none", "judge", "likelihood", "pass-rate", "oracle"] = "none"
    """A cheaper labeler that goes first; what it puts at the bottom keeps its label as not relevant, and only the rest
    goes to the labeler."""
    screen_keep: float = 0.25
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
    is chosen on; without them it is the best split of the gains above 0."""
    pass_rate: PassRateConfig = PassRateConfig()
    structure_column: str = "structure"
    """The column of problems and traces that labeler oracle compares."""
    seed: int = 0
    """Seed of every random choice."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset(
        {f"judge.{name}" for name in SERVER_FIELDS_NOT_IN_FINGERPRINT}
        | {"judge.max_unjudged", "likelihood.batch_tokens", "pass_rate.batch_size"}
    )


def plan(config: LabelConfig) -> str:
    """What `label` would do: pairs, calls, tokens and cost, before a single call."""
    check_config(config, server=False)
    candidates, _, _ = _candidates(config)
    step = max(1, candidates.upper_bound() // DRY_RUN_SAMPLE)
    n_pairs = sampled = characters = 0
    for i, pair in enumerate(candidates):
        n_pairs += 1
        if i % step == 0:
            sampled += 1
            messages = pair_messages(pair, config.judge)
            characters += sum(len(message["content"]) for message in messages)
    lines = [f"problems  {len(candidates.problems)}", f"traces    {len(candidates.traces)}", f"pairs     {n_pairs}"]
    asked = n_pairs
    if config.screen != "none":
        asked = sum(
            math.ceil(config.screen_keep * min(config.candidates.per_problem, len(candidates.pool(problem))))
            for problem in candidates.problems
        )
        lines.append(f"screened by {config.screen}; at most {asked} pairs go on to {config.labeler}")
    if "judge" in (config.labeler, config.screen):
        calls = (n_pairs if config.screen == "judge" else asked) * config.judge.votes
        tokens_in = round(characters / max(sampled, 1) / 4 * calls)
        tokens_out = calls * config.judge.expected_tokens
        cost = config.judge.cost(tokens_in, tokens_out)
        lines.append(f"calls     {calls}")
        lines.append(f"tokens    about {tokens_in} in (4 characters each), {tokens_out} out")
        priced = config.judge.price_in or config.judge.price_out
        lines.append(f"cost      ${cost:.2f}" if priced else "cost      give --judge.price-in and --judge.price-out")
    if "pass-rate" in (config.labeler, config.screen):
        n = n_pairs if config.screen == "pass-rate" else asked
        samples = n * config.pass_rate.samples + len(candidates.problems) * config.pass_rate.base_samples
        lines.append(f"rollouts  {samples}, at most {samples * config.pass_rate.max_new_tokens} tokens")
    return "\n".join(lines)


@stage("label", dry_run=plan)
def label(config: LabelConfig, work: Work) -> None:
    """Label which traces help with which problems.

    Writes labels.parquet (`problem_id, trace_id, relevant, score, labeler, rationale`), and unjudged.jsonl where the
    judge gave no usable answer for a pair.

    Raises:
        InputError: bad input, a server or model that can't be used, or too many unjudged pairs.
    """
    check_config(config)
    candidates, problems, traces = _candidates(config)
    _check_golds(config, candidates.problems)
    total = candidates.upper_bound()
    with LabelWriter(work.path / "labels.parquet") as out:
        if config.screen == "none":
            _run(config.labeler, config, candidates, traces, total, work, work.scratch, out.write)
        else:
            screened = work.scratch / "screened.parquet"
            with LabelWriter(screened) as screen_out:
                _run(config.screen, config, candidates, traces, total, work, _folder(work, "screen"), screen_out.write)
            log(f"{config.screen} has screened {screen_out.count} pairs; {config.labeler} decides the best of them")
            merge = _Merge(screened, config, out.write)
            pairs = Kept(screened, config.screen_keep, problems, traces)
            _run(config.labeler, config, pairs, traces, len(pairs), work, _folder(work, "decide"), merge.write)
            merge.finish()
    if not out.count:
        raise InputError(f"{config.problems}: no pair could be labelled; every candidate was left out or unjudged")
    work.results |= {"n_pairs": out.count, "n_relevant": out.n_relevant}
    log(f"labelled {out.count} pairs, {out.n_relevant} of them relevant")


def check_config(config: LabelConfig, server: bool = True) -> None:
    """Check what can be checked before any work.

    Args:
        server: also check the judge's settings, which a dry run does not need.

    Raises:
        InputError: the chosen labelers lack a setting.
    """
    used = {config.labeler, config.screen}
    if config.labeler == config.screen:
        raise InputError(f"screen and labeler are both {config.labeler}; a screen is another, cheaper labeler")
    if not 0 < config.screen_keep <= 1:
        raise InputError(f"screen-keep is {config.screen_keep}; give a share above 0, up to 1")
    if "judge" in used and server:
        check_server(config.judge, "judge")
    if used & {"likelihood", "pass-rate"} and config.model is None:
        raise InputError("labelers likelihood and pass-rate need the policy; give it with --model")


def _check_golds(config: LabelConfig, problems: Sequence[Problem]) -> None:
    """Raise InputError unless every problem has the gold that the labelers need."""
    used = {config.labeler, config.screen}
    if "pass-rate" in used:
        from rarft.rewards import require_golds

        require_golds(problems, config.pass_rate.reward, config.problems)
    if "likelihood" in used and config.likelihood.target in ("answer", "both"):
        require_answers(problems, config.problems, f"likelihood.target {config.likelihood.target}")


def _candidates(config: LabelConfig) -> tuple[Candidates, Mapping[str, Problem], Mapping[str, Trace]]:
    problems, traces = load_problems(config.problems), load_traces(config.traces)
    analogies: dict[str, list[str]] | None = None
    if config.analogies is not None:
        analogies = read_analogies(config.analogies)
    candidates = Candidates(problems, traces, config.candidates, config.seed, analogies)
    return candidates, {p.id: p for p in problems}, {t.id: t for t in traces}


def _folder(work: Work, name: str) -> Path:
    folder = work.scratch / name
    folder.mkdir(exist_ok=True)
    return folder


def _run(
    labeler: str,
    config: LabelConfig,
    pairs: Iterable[Pair],
    traces: Mapping[str, Trace],
    total: int,
    work: Work,
    scratch: Path,
    write: Callable[[Label], None],
) -> None:
    """Have one labeler label `pairs`, in order."""
    if labeler == "oracle":
        oracle_label(pairs, config.structure_column, total, write)
    elif labeler == "judge":
        judge_label(pairs, config.judge, total, work, scratch, write)
    elif labeler == "likelihood":
        assert config.model is not None
        solved = load_traces(config.gold_solutions) if config.gold_solutions else traces.values()
        likelihood_label(
            pairs, solved, config.likelihood, config.model, config.prompt, config.calibrate_on, total,
            config.seed, work, scratch, write,
        )  # fmt: skip
    else:
        assert config.model is not None
        pass_rate_label(pairs, config.pass_rate, config.model, config.prompt, total, config.seed, work, scratch, write)


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
