"""`rarft evaluate`: sample answers to benchmark problems, verify them, and write rollouts.parquet and scores.json.

Reads benchmarks, a policy and, where the policy should see worked examples, traces with the analogies that
`rarft retrieve` found. All samples of a prompt share one computation of that prompt. Every chunk of rollouts is on
disk before it counts, so a killed run goes on where it stopped. Rollouts are kept: every score can be computed again
without sampling.

Left out: comparing systems (`rarft report`, `rarft.stats.paired_difference`).

    rarft evaluate --problems aime24.jsonl --model runs/policy --traces corpus.jsonl --analogies runs/analogies \\
        --samples 32 --output runs/eval
"""

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from rarft.core.artifacts import write_json
from rarft.core.cluster import RayConfig
from rarft.core.config import Input, NotInResult, NotInWork, Seed, Temperature
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known, times
from rarft.core.progress import Progress, log
from rarft.core.stages import Work, stage
from rarft.evaluation.scores import scores
from rarft.models.engines import open_engine
from rarft.models.engines.base import Completion, EngineConfig, EngineOptions, Sampling
from rarft.models.prompts import PromptConfig, check_length, render_prompt
from rarft.records.analogies import read_analogies
from rarft.records.decontaminate import Decontaminator
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.rollouts import ROLLOUTS, Rollout, read_rollouts, write_rollouts
from rarft.rewards.problems import check_problems, verify_problems
from rarft.rewards.sandbox import RewardConfig

ROLLOUTS_PER_CHUNK = 256


class EvaluateConfig(RayConfig, EngineConfig, RewardConfig):
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
    temperature: Temperature = 1.0
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
    k: Annotated[int | None, NotInWork] = Field(default=None, ge=1)
    """The k of pass@k and maj@k; the number of samples per problem when not given. Another k samples nothing again."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type; auto is that of the weights. On a CPU without bfloat16 products, bfloat16 is computed in float32."""
    batch_size: Annotated[int, NotInResult] = Field(default=64, ge=1)
    """Completions computed at once in this process; lower it when memory runs out."""
    seed: Seed = 0
    """Seed of every random choice."""

    @field_validator("problems", "trained_on", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def estimate(config: EvaluateConfig, known: Known) -> Estimate:
    """Rollouts, and their tokens at most."""
    counts = [known.problems(value) for value in config.problems]
    if config.limit is not None:
        counts = [None if count is None else min(count, config.limit) for count in counts]
    problems = None if None in counts else sum(count or 0 for count in counts)
    prompts = times(problems, config.top_k if config.contexts == "each" else 1)
    rollouts = times(prompts, config.samples)
    return Estimate({"rollouts": rollouts, "tokens": times(rollouts, config.max_new_tokens)})


@stage("evaluate", "sample answers and score them", place=75, estimate=estimate)
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
    ranked = read_analogies(config.analogies, traces, str(config.traces)) if config.analogies else None
    if ranked is not None:
        asked = [problem.id for problems in benchmarks.values() for problem in problems]
        ((most, count),) = Counter(asked).most_common(1)
        if count > 1:
            raise InputError(
                f"{', '.join(config.problems)}: share ids, such as {most}, and analogies go by id; make ids unique "
                "over all files, or evaluate each alone"
            )
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
        for context, samples in prompts_of(problem, ranked, config)
    ]
    _check_k(config.k, plan)
    rollouts = _roll_out(config, plan, work)
    write_rollouts(work.path / ROLLOUTS, rollouts)
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
    found: dict[str, list[Problem]] = {}
    for given in config.problems:
        path = Path(given)
        name = path.stem if path.suffix else path.name or given
        if name in found:
            raise InputError(f"{given}: a second benchmark called {name}; rename the file")
        problems = load_problems(given, config.columns)
        if config.limit is not None and len(problems) > config.limit:
            problems = sorted(random.Random(config.seed).sample(problems, config.limit), key=lambda problem: problem.id)
        check_problems(problems, given, config.reward)
        found[name] = problems
    return found


def prompts_of(
    problem: Problem, ranked: Mapping[str, Sequence[Trace]] | None, config: EvaluateConfig
) -> list[tuple[Context, int]]:
    """The contexts a problem is asked with, and how many samples each gets.

    A problem for which retrieval found nothing good enough is asked without a trace; one with fewer than top-k
    analogies with those it has.
    """
    chosen = list(ranked.get(problem.id, []))[: config.top_k] if ranked is not None else []
    if not chosen:
        return [((0, []), config.samples)]
    if config.contexts == "together":
        return [((0, chosen), config.samples)]
    alone: list[Context] = [(rank, [trace]) for rank, trace in enumerate(chosen, start=1)]
    if config.contexts == "each":
        return [(context, config.samples) for context in alone]
    share, rest = divmod(config.samples, len(alone))
    dealt = [(context, share + (rank < rest)) for rank, context in enumerate(alone)]
    return [(context, count) for context, count in dealt if count]


def _check_k(k: int | None, plan: Sequence[Prompt]) -> None:
    """Raise InputError, before anything is sampled, where a problem gets fewer than k samples."""
    counts: dict[tuple[str, str], int] = {}
    for name, problem, _, samples in plan:
        counts[name, problem.id] = counts.get((name, problem.id), 0) + samples
    fewest = min(counts, key=lambda key: counts[key])
    if k is not None and k > counts[fewest]:
        raise InputError(
            f"k is {k}, and problem {fewest[1]} of {fewest[0]} gets {counts[fewest]} samples; lower --k or raise "
            "--samples"
        )


def _roll_out(config: EvaluateConfig, plan: Sequence[Prompt], work: Work) -> list[Rollout]:
    """Rollouts of all prompts: sampled, or those of a finished folder that was scored with another k."""
    found = _sample(config, plan, work) if work.before is None else {0: read_rollouts(work.before)}
    for rows in found.values():
        prompts = {(row.benchmark, row.problem_id, row.context): row.n_prompt_tokens for row in rows}
        work.ledger.add(tokens_in=sum(prompts.values()), tokens_out=sum(row.n_tokens for row in rows), calls=len(rows))
    return [row for _, rows in sorted(found.items()) for row in rows]


def _sample(config: EvaluateConfig, plan: Sequence[Prompt], work: Work) -> dict[int, list[Rollout]]:
    """Rollouts by chunk; chunks that an earlier run has finished are read back."""
    done = _finished_chunks(work.scratch)
    per_chunk = max(1, ROLLOUTS_PER_CHUNK // config.samples)
    chunks = [plan[start : start + per_chunk] for start in range(0, len(plan), per_chunk)]
    found = {number: read_rollouts(path) for number, path in done.items()}
    left = [number for number in range(len(chunks)) if number not in done]
    with Progress("evaluating", sum(row[3] for row in plan), sum(map(len, found.values()))) as progress:
        if left:
            with closing(_Policy(config, plan)) as policy:
                for number, drawn in policy.engine.each(lambda number: policy.sample(chunks[number]), left):
                    rows = found[number] = policy.verify(chunks[number], drawn)
                    write_rollouts(work.scratch / f"chunk-{number:06d}.parquet", rows)
                    progress.advance(len(rows))
                work.results |= policy.engine.throughput()
    return found


class _Policy:
    """The engine with the rendered prompts; made only when there is something left to sample."""

    def __init__(self, config: EvaluateConfig, plan: Sequence[Prompt]) -> None:
        self.config = config
        options = EngineOptions(dtype=config.dtype, batch_size=config.batch_size, vllm=config.vllm)
        self.engine = open_engine(config.engine, config.model, options, config.ray)
        self.rendered: dict[tuple[str, str, int], list[int]] = {}
        for prompt in plan:
            check_length(self._ids(prompt), self.engine.context_length, prompt[1].id, config.max_new_tokens)

    def _ids(self, prompt: Prompt) -> list[int]:
        name, problem, (rank, traces), _ = prompt
        key = (name, problem.id, rank)
        if key not in self.rendered:
            self.rendered[key] = render_prompt(self.engine.tokenizer, problem.question, traces, self.config.prompt)
        return self.rendered[key]

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def sample(self, chunk: Sequence[Prompt]) -> list[list[Completion]]:
        """Completions of a chunk. Every prompt has a seed of its own, so chunks and batches change nothing."""
        config = self.config
        return self.engine.sample(
            [self._ids(prompt) for prompt in chunk],
            [samples for *_, samples in chunk],
            [_seed(config.seed, name, problem.id, context[0]) for name, problem, context, _ in chunk],
            Sampling(config.max_new_tokens, config.temperature, config.top_p),
        )

    def verify(self, chunk: Sequence[Prompt], groups: Sequence[Sequence[Completion]]) -> list[Rollout]:
        """The chunk's rollouts."""
        drawn = [
            (prompt, sample, completion)
            for prompt, group in zip(chunk, groups, strict=True)
            for sample, completion in enumerate(group)
        ]
        texts = [self.engine.tokenizer.decode(done.token_ids, skip_special_tokens=True) for _, _, done in drawn]
        verdicts = verify_problems([prompt[1] for prompt, _, _ in drawn], texts, self.config.reward)
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
