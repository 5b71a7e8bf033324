"""`rarft evaluate`: sample answers to benchmark problems, verify them, and write rollouts.parquet and scores.json.

Reads benchmarks, a policy and, where the policy should see worked examples, traces with the analogies that
`rarft retrieve` found. All samples of a prompt share one computation of that prompt. Every chunk of rollouts is on
disk before it counts, so a killed run goes on where it stopped. Rollouts are kept: every score can be computed again
without sampling.

Left out: comparing systems (`rarft report`, `rarft.evaluation.metrics.paired_difference`).

    rarft evaluate --problems aime24.jsonl --model runs/policy --traces corpus.jsonl --analogies runs/analogies \\
        --samples 32 --output runs/eval
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from rarft.core.artifacts import Work, stage, write_json
from rarft.core.config import Config, Input
from rarft.core.errors import InputError
from rarft.core.progress import Progress, log
from rarft.evaluation.scores import scores
from rarft.models.prompts import PromptConfig
from rarft.records.analogies import read_analogies
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.rollouts import Rollout, read_rollouts, write_rollouts

ROLLOUTS_PER_CHUNK = 256


class EvaluateConfig(Config):
    """What to evaluate, on what, with which context."""

    problems: list[Input]
    """Benchmarks: files, `rarft prepare` folders, Hugging Face ids, or the names aime24, aime25, hmmt25, brumo25."""
    model: Input
    """Policy: Hugging Face id, folder, or GGUF file."""
    traces: Input | None = None
    """Worked examples that the analogies name. Without them the policy sees the bare problem."""
    analogies: Input | None = None
    """analogies.parquet or the `rarft retrieve` folder that holds it."""
    top_k: int = Field(default=1, ge=1)
    """How many of a problem's analogies to use."""
    contexts: Literal["together", "each", "spread"] = "together"
    """together: all top-k traces in one prompt; each: every one in a prompt of its own, `samples` per prompt (context
    variation); spread: the samples of a problem dealt over the top-k traces in turn (context ensembling)."""
    samples: int = Field(default=32, ge=1)
    """Completions per problem (per context with `contexts=each`): the k of avg@k."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling: the smallest set of tokens with this probability is kept; 1 keeps all."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest completion, in tokens; longer ones are cut and counted as truncated (the paper: 32768)."""
    reward: str = "math"
    """Which verifier decides whether an answer is right."""
    prompt: PromptConfig = PromptConfig()
    trained_on: list[Input] = Field(default_factory=list)
    """Files of problems that the policy was trained on: checked for overlap with the benchmarks, as the traces are."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Column names of the benchmark files, where they differ: ours -> theirs."""
    limit: int | None = Field(default=None, ge=1)
    """Evaluate on at most this many problems of each benchmark, chosen by the seed; all when not given."""
    k: int | None = Field(default=None, ge=1)
    """The k of pass@k and maj@k; the number of samples per problem when not given."""
    dtype: str = "auto"
    """Number type of the weights: auto, float32, bfloat16, float16."""
    batch_size: int = Field(default=64, ge=1)
    """Completions computed at once; lower it when memory runs out."""
    seed: int = 0
    """Seed of every random choice."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    @field_validator("problems", "trained_on", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


@stage("evaluate")
def evaluate(config: EvaluateConfig, work: Work) -> None:
    """Sample and verify completions for every benchmark problem; write rollouts.parquet and scores.json.

    scores.json has `k`, and for `overall` and each of `benchmarks`: `avg@k`, `pass@k`, `maj@k` with value and 95 %
    interval, the shares of completions with an answer, cut short, and timed out in verification, the mean length in
    tokens, and `decontamination`. Raises InputError on bad input.
    """
    benchmarks = load_benchmarks(config)
    traces = {trace.id: trace for trace in load_traces(config.traces)} if config.traces else {}
    if config.analogies and not config.traces:
        raise InputError("--analogies names trace ids; give the --traces they come from too")
    if config.contexts != "together" and not config.analogies:
        raise InputError(f"--contexts {config.contexts} needs --analogies; without them there is one context only")
    ranked = read_analogies(config.analogies, traces) if config.analogies else None
    if ranked is not None:
        asked = [problem.id for problems in benchmarks.values() for problem in problems]
        without = sum(key not in ranked for key in asked)
        if without == len(asked):
            raise InputError(
                f"{config.analogies}: no analogy for any of the problems; retrieve for {', '.join(config.problems)}"
            )
        work.results["problems_without_analogy"] = without
    plan = [
        (name, problem, context, samples)
        for name, problems in benchmarks.items()
        for problem in problems
        for context, samples in prompts_of(problem, ranked, traces, config)
    ]
    done = _finished_chunks(work.scratch)
    per_chunk = max(1, ROLLOUTS_PER_CHUNK // config.samples)
    chunks = [plan[start : start + per_chunk] for start in range(0, len(plan), per_chunk)]
    rollouts: list[Rollout] = []
    policy: Any = None
    total = sum(row[3] for row in plan)
    kept = sum(row[3] for number in done for row in chunks[number])
    with Progress("evaluating", total, kept) as progress:
        for number, chunk in enumerate(chunks):
            if number in done:
                rows = read_rollouts(done[number])
            else:
                policy = policy or _Policy(config, plan)
                rows = policy.sample(chunk)
                aside = work.scratch / "writing.parquet"
                write_rollouts(aside, rows)
                aside.rename(work.scratch / f"chunk-{number:06d}.parquet")
                progress.advance(len(rows))
            prompts = {(row.benchmark, row.problem_id, row.context): row.n_prompt_tokens for row in rows}
            work.ledger.add(
                tokens_in=sum(prompts.values()), tokens_out=sum(row.n_tokens for row in rows), calls=len(rows)
            )
            rollouts.extend(rows)
    write_rollouts(work.path / "rollouts.parquet", rollouts)
    found = scores(rollouts, k=config.k, seed=config.seed)
    seen = [trace.problem for trace in traces.values()]
    seen += [problem.question for path in config.trained_on for problem in load_problems(path)]
    for name, problems in benchmarks.items():
        found["benchmarks"][name]["decontamination"] = contamination(problems, seen)
    write_json(work.path / "scores.json", found)
    overall = found["overall"]["avg@k"]
    work.results.update(
        k=found["k"],
        rollouts=len(rollouts),
        **{"avg@k": overall["value"], "low": overall["low"], "high": overall["high"]},
    )
    for line in score_lines(found):
        log(line)


Context = tuple[int, list[Trace]]
"""Rank of the context (0: none, or the top-k together) and its traces."""
Prompt = tuple[str, Problem, Context, int]
"""Benchmark, problem, context, and how many samples."""


def load_benchmarks(config: EvaluateConfig) -> dict[str, list[Problem]]:
    """Problems by benchmark name: the given name, or the file's or folder's.

    Raises:
        InputError: a name used twice, or a problem that the reward cannot score.
    """
    from rarft.rewards import require_golds

    found: dict[str, list[Problem]] = {}
    for given in config.problems:
        path = Path(given)
        name = path.stem if path.suffix else path.name or given
        if name in found:
            raise InputError(f"{given}: a second benchmark called {name}; rename the file")
        problems = load_problems(given, config.columns)
        if config.limit is not None and len(problems) > config.limit:
            problems = sorted(random.Random(config.seed).sample(problems, config.limit), key=lambda problem: problem.id)
        require_golds(problems, config.reward, given)
        found[name] = problems
    return found


def prompts_of(
    problem: Problem, ranked: Mapping[str, Sequence[str]] | None, traces: Mapping[str, Trace], config: EvaluateConfig
) -> list[tuple[Context, int]]:
    """The contexts a problem is asked with, and how many samples each gets.

    A problem for which retrieval found nothing good enough is asked without a trace; one with fewer than top-k
    analogies with those it has.
    """
    ids = list(ranked.get(problem.id, []))[: config.top_k] if ranked is not None else []
    if not ids:
        return [((0, []), config.samples)]
    chosen = [traces[key] for key in ids]
    if config.contexts == "together":
        return [((0, chosen), config.samples)]
    alone: list[Context] = [(rank, [trace]) for rank, trace in enumerate(chosen, start=1)]
    if config.contexts == "each":
        return [(context, config.samples) for context in alone]
    share, rest = divmod(config.samples, len(alone))
    dealt = [(context, share + (rank < rest)) for rank, context in enumerate(alone)]
    return [(context, count) for context, count in dealt if count]


class _Policy:
    """The loaded model with its rendered prompts; made only when there is something left to sample."""

    def __init__(self, config: EvaluateConfig, plan: Sequence[Prompt]) -> None:
        from rarft.models.loading import context_length, load_policy
        from rarft.models.prompts import check_length

        self.config = config
        self.model, self.tokenizer = load_policy(config.model, dtype=config.dtype)
        self.rendered: dict[tuple[str, str, int], list[int]] = {}
        longest = context_length(self.model.config)
        for prompt in plan:
            check_length(self._ids(prompt), longest, prompt[1].id, config.max_new_tokens)

    def _ids(self, prompt: Prompt) -> list[int]:
        from rarft.models.prompts import render_prompt

        name, problem, (rank, traces), _ = prompt
        key = (name, problem.id, rank)
        if key not in self.rendered:
            self.rendered[key] = render_prompt(self.tokenizer, problem.question, traces, self.config.prompt)
        return self.rendered[key]

    def sample(self, chunk: Sequence[Prompt]) -> list[Rollout]:
        """Rollouts of a chunk of prompts: every prompt has a seed of its own, so chunks and batches change nothing."""
        from rarft.models.generation import generate
        from rarft.rewards import verify

        config = self.config
        groups = generate(
            self.model,
            self.tokenizer,
            [self._ids(prompt) for prompt in chunk],
            num_samples=[samples for *_, samples in chunk],
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=[_seed(config.seed, name, problem.id, context[0]) for name, problem, context, _ in chunk],
            batch_size=config.batch_size,
        )
        drawn = [
            (prompt, sample, completion)
            for prompt, group in zip(chunk, groups, strict=True)
            for sample, completion in enumerate(group)
        ]
        texts = [self.tokenizer.decode(done.token_ids, skip_special_tokens=True) for _, _, done in drawn]
        golds = [prompt[1].gold for prompt, _, _ in drawn]
        extras = [{**prompt[1].extra, "question": prompt[1].question} for prompt, _, _ in drawn]
        verdicts = verify(golds, texts, name=config.reward, extras=extras)
        return [
            Rollout(
                benchmark=name,
                problem_id=problem.id,
                context=rank,
                sample=sample,
                trace_ids=[trace.id for trace in traces],
                completion=text,
                answer=verdict.answer,
                reward=verdict.reward,
                reason=verdict.reason,
                n_tokens=len(completion.token_ids),
                truncated=not completion.finished,
                n_prompt_tokens=len(self._ids((name, problem, (rank, traces), 0))),
            )
            for ((name, problem, (rank, traces), _), sample, completion), text, verdict in zip(
                drawn, texts, verdicts, strict=True
            )
        ]


def _seed(*parts: str | int) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") >> 1


def _finished_chunks(scratch: Path) -> dict[int, Path]:
    return {int(path.stem.split("-")[1]): path for path in scratch.glob("chunk-*.parquet")}


STOCK_PHRASE = 3


def contamination(problems: Sequence[Problem], seen: Sequence[str], n: int = 8) -> dict[str, Any]:
    """Whether training problems or corpus problems (`seen`) share a run of n words with a benchmark's questions.

    A run of words that three or more of the questions share is a turn of phrase and does not count.
    Returns `status` (clean, overlap or unchecked), `checked` and `overlapping` (counts of `seen`), `ngram`.
    """
    from rarft.records.decontaminate import Decontaminator

    if not seen:
        return {"status": "unchecked", "checked": 0, "overlapping": 0, "ngram": n}
    grams = Decontaminator(n, STOCK_PHRASE)
    grams.add("benchmark", (problem.question for problem in problems))
    hits = sum(grams.find(text) is not None for text in seen)
    return {"status": "overlap" if hits else "clean", "checked": len(seen), "overlapping": hits, "ngram": n}


def score_lines(found: Mapping[str, Any]) -> list[str]:
    """scores.json as lines for a terminal: each benchmark with intervals and its decontamination status."""
    lines = []
    blocks = dict(found["benchmarks"])
    if len(blocks) > 1:
        blocks["overall"] = found["overall"]
    for name, block in blocks.items():
        parts = [
            f"{metric}@{found['k']} {100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
            for metric, score in ((metric, block[f"{metric}@k"]) for metric in ("avg", "pass", "maj"))
        ]
        check = block.get("decontamination")
        if check:
            status = str(check["status"])
            if status == "overlap":
                status = f"{check['overlapping']} of {check['checked']} overlap"
            parts.append(f"decontamination: {status}")
        lines.append(f"{name}: {', '.join(parts)}")
    return lines
