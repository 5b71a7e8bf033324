"""`rarft preflight`: will examples help this policy on these problems? Measured on a sample, before GPU days are spent.

    rarft preflight --problems P --traces T --model M --gold-solutions S --output runs/preflight

Accuracy bare; with a random example; with what BM25 and an untuned encoder think alike; and with the best of
`candidates` random examples: the `shortlist` that make the gold solution likeliest (random ones where no gold solution
is known) are sampled, and either half of the samples chooses the one that the other half scores, so that luck does not
count. The same examples in each prompt template, and only such as fit the model. The candidates are the same traces for
all problems, so that what is computed of a trace serves them all. What follows from the numbers is in `verdict.py`.
Each call to the engine is on disk when it ends, so a killed run goes on. Left out: training; what RL makes of an
example that does not help yet.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from rarft.core.append_log import AppendLog
from rarft.core.artifacts import write_json
from rarft.core.config import Count, Input, NotInResult, Seed, TemperatureAboveZero
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known, times
from rarft.core.progress import Progress, log
from rarft.core.stages import Work, stage
from rarft.models.engines import open_engine
from rarft.models.engines.base import Completion, EngineConfig, EngineOptions, Metered, Sampling
from rarft.models.prompts import PromptConfig, check_length, completion_ids, render_prompt, uses_chat
from rarft.preflight.verdict import ARMS, conclude
from rarft.records.bm25 import BM25
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.same_problem import gold_solutions, may_stand_before
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.likelihood import Row, mean_logps
from rarft.relevance.resume import by_problem
from rarft.rewards.problems import check_problems, verify_problems
from rarft.rewards.sandbox import RewardConfig

BEST = "best-"
"""Begins the names of the shortlist's arms."""
LOOKED_AT = 50
"""How many look-alikes are tried for one that fits the model."""
Fits = Callable[[Problem, Trace], bool]
"""Whether the problem's prompt with the trace fits the model."""


class PreflightConfig(EngineConfig, RewardConfig):
    problems: Input
    """Problems that RL would train on: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    traces: Input
    """The corpus: same formats."""
    model: Input
    """The policy: a Hugging Face id, a folder, or a GGUF file."""
    encoder: Input = "minilm"
    """The untuned encoder: a folder, a Hugging Face id, or `minilm`."""
    gold_solutions: Input | None = None
    """Traces of the problems themselves, whose solutions tell which examples to try; a `solution` column of the
    problems serves as well."""
    reward: str = "math"
    """Verifier of the samples."""
    templates: list[Literal["chat", "plain"]] = ["chat", "plain"]
    """Prompt templates to compare; chat is left out where the tokenizer has none."""
    instruction: str | None = None
    """What the policy is told to do; without it the prompt's own with chat, and nothing with plain."""
    n_problems: Count = 24
    """Problems of the sample."""
    n_traces: Count = 2000
    """Most traces of the sample."""
    samples: int = Field(8, ge=4)
    """Samples of each problem with each example."""
    candidates: Count = 64
    """Random traces, the same for all problems, that each problem's best is sought among."""
    shortlist: Count = 3
    """How many of them are sampled."""
    max_new_tokens: Count = 512
    """Most tokens of a sample."""
    temperature: TemperatureAboveZero = 1.0
    """Sampling temperature."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type; auto is that of the weights. On a CPU without bfloat16 products, bfloat16 is computed in float32."""
    batch_size: Annotated[int, NotInResult] = Field(64, ge=1)
    """Samples decoded at a time."""
    seed: Seed = 0
    """Seed of every random choice."""


def estimate(config: PreflightConfig, known: Known) -> Estimate:
    """Pairs that are scored, and rollouts with their tokens at most."""
    problems = known.problems(config.problems)
    problems = None if problems is None else min(problems, config.n_problems)
    asked = times(problems, len(config.templates))
    rollouts = times(asked, config.samples, len(ARMS) - 1 + config.shortlist)
    return Estimate(
        {
            "pairs": times(problems, config.candidates),
            "rollouts": rollouts,
            "tokens": times(rollouts, config.max_new_tokens),
        }
    )


@stage(
    "preflight", "will worked examples help this policy? measured on a sample", place=5, estimate=estimate, version=5
)
def run_preflight(config: PreflightConfig, work: Work) -> None:
    """Measure on a sample what examples do for a policy, and say what follows.

    Writes preflight.json and preflight.md, and prints the latter.

    Raises:
        InputError: bad problems or traces, a model or encoder that can't be loaded, a prompt that does not fit.
    """
    everything = load_problems(config.problems)
    problems, traces = sample_of(config, everything)
    check_problems(problems, config.problems, config.reward)
    solutions = gold_solutions(problems, load_traces(config.gold_solutions) if config.gold_solutions else ())
    log(f"preflight: {len(problems)} problems, {len(traces)} traces, {config.samples} samples of each arm")
    alikes = _look_alikes(problems, traces, config)
    with closing(AppendLog(work.scratch / "problems.jsonl")) as kept, closing(_Policy(config, solutions)) as policy:
        done = {(row["template"], row["problem"]): row for row in kept.rows()}
        pools = candidates(problems, traces, config, policy.fits)
        scores = policy.score(problems, pools, work)
        plan = [(t, i) for t in policy.templates for i in range(len(problems))]
        left = [(t, i) for t, i in plan if (t, problems[i].id) not in done]
        arms = [policy.arms(*given) for given in zip(problems, pools, alikes, scores, strict=True)]
        asked = (policy.ask(t, problems[i], arms[i], bool(scores[i])) for t, i in left)
        with Progress("sampling", len(plan), len(plan) - len(left)) as progress:
            for row in policy.measure(asked):
                done[row["template"], row["problem"]] = row
                kept.append(row)
                progress.advance()
        work.results |= policy.engine.throughput()
        found = {str(t): [done[t, problem.id] for problem in problems] for t in policy.templates}
        facts = {
            "context_length": policy.engine.context_length,
            "max_new_tokens": config.max_new_tokens,
            "too_long": policy.too_long / max(1, policy.looked_at),
            "problems": len(everything),
            "samples": config.samples,
            "shortlist": min(config.shortlist, max(map(len, pools))),
            "candidates": max(map(len, pools)),
            "scored_pairs": sum(len(row["means"]) for row in scores if row),
            "scoring_seconds": sum(row["seconds"] for row in scores if row),
        }
    for row in done.values():
        work.ledger.add(tokens_in=row["tokens_in"], tokens_out=row["tokens_out"], calls=row["rollouts"])
    result, page = conclude(found, facts, config.seed)
    write_json(work.path / "preflight.json", result)
    (work.path / "preflight.md").write_text(page, encoding="utf-8")
    work.results |= {"verdict": result["verdict"]}
    print(page)


def sample_of(config: PreflightConfig, problems: Sequence[Problem]) -> tuple[list[Problem], list[Trace]]:
    """Problems and traces drawn by the seed, in the order of their files."""
    rng = random.Random(config.seed)
    traces = load_traces(config.traces)
    chosen = sorted(rng.sample(range(len(problems)), min(config.n_problems, len(problems))))
    drawn = sorted(rng.sample(range(len(traces)), min(config.n_traces, len(traces))))
    return [problems[i] for i in chosen], [traces[i] for i in drawn]


def candidates(
    problems: Sequence[Problem], traces: Sequence[Trace], config: PreflightConfig, fits: Fits
) -> list[list[Trace]]:
    """Each problem's random candidates, in an order of its own: the same traces, but those of the very problem.

    Raises:
        InputError: a problem for which there is no trace.
    """
    shuffled = random.Random(config.seed).sample(traces, len(traces))
    pools = []
    for problem in problems:
        usable = (t for t in shuffled if may_stand_before(t, problem) and fits(problem, t))
        pool = list(islice(usable, config.candidates))
        if not pool:
            raise InputError(
                f"problem {problem.id}: every trace is of the same problem, or too long for the model with "
                f"{config.max_new_tokens} new tokens; give other traces or lower --max-new-tokens"
            )
        random.Random(f"{config.seed} {problem.id}").shuffle(pool)
        pools.append(pool)
    return pools


def _look_alikes(
    problems: Sequence[Problem], traces: Sequence[Trace], config: PreflightConfig
) -> list[dict[str, list[Trace]]]:
    """For each problem the traces that BM25 and the untuned encoder find alike and the leak guard lets through.

    The best come first, as many as may be too long for the model.
    """
    import torch

    from rarft.retriever.encoder import load_encoder
    from rarft.retriever.maxsim import scores

    questions = [problem.question for problem in problems]
    encoder = load_encoder(config.encoder)
    table = scores(encoder.encode_problems(questions), encoder.encode_traces(traces))
    del encoder
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the policy's engine may want it
    bm25 = BM25([f"{trace.problem} {trace.solution}" for trace in traces]).top(questions, len(traces))
    places = {
        "bm25": [[place for place, _ in row] for row in bm25],
        "untuned": [list(np.argsort(-row, kind="stable")) for row in table],
    }

    def usable(problem: Problem, ranked: Sequence[int]) -> list[Trace]:
        return list(islice((traces[i] for i in ranked if may_stand_before(traces[i], problem)), LOOKED_AT))

    return [{name: usable(problem, rows[i]) for name, rows in places.items()} for i, problem in enumerate(problems)]


class Asked(NamedTuple):
    """A problem in one template: its arms by name, and the token ids of their prompts."""

    template: str
    problem: Problem
    arms: list[str]
    prompts: list[list[int]]
    by_likelihood: bool
    """Whether the likelihood of the gold solution chose the traces among which the best is sought."""


class Sampled(NamedTuple):
    """What one arm's prompt led to."""

    rewards: list[float]
    reasons: list[str]


class _Policy:
    """The engine, and a problem's arms."""

    def __init__(self, config: PreflightConfig, solutions: Mapping[str, str]) -> None:
        options = EngineOptions(dtype=config.dtype, batch_size=config.batch_size, vllm=config.vllm)
        self.config = config
        self.engine: Metered = open_engine(config.engine, config.model, options)
        has_chat = uses_chat(self.engine.tokenizer, PromptConfig())
        self.templates: list[str] = [t for t in dict.fromkeys(config.templates) if t == "plain" or has_chat]
        if not self.templates:
            self.close()
            raise InputError(f"{config.model}: its tokenizer has no chat template; add plain to --templates")
        self.prompts = {template: self._prompt(template) for template in self.templates}
        self.looked_at = self.too_long = 0
        self.scored_in = "plain" if "plain" in self.templates else self.templates[0]
        prompt, tokenizer = self.prompts[self.scored_in], self.engine.tokenizer
        self.solutions = {name: completion_ids(tokenizer, text, prompt) for name, text in solutions.items()}

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def fits(self, problem: Problem, trace: Trace) -> bool:
        """Whether the prompt with the trace leaves room, in every template, for an answer and for the gold solution."""
        limit = self.engine.context_length
        room = max(self.config.max_new_tokens, len(self.solutions.get(problem.id, ())) + 1)  # vLLM scores one less
        fits = limit is None or all(len(self.ids(t, problem, [trace])) + room <= limit for t in self.templates)
        self.looked_at, self.too_long = self.looked_at + 1, self.too_long + (not fits)
        return fits

    def score(self, problems: Sequence[Problem], pools: Sequence[list[Trace]], work: Work) -> list[dict[str, Any]]:
        """For each problem the mean log-prob of its gold solution with each candidate (`means`), and what it took.

        Empty where no gold solution is known.
        """
        known = self.solutions
        pairs = [Pair(p, trace) for p, pool in zip(problems, pools, strict=True) if p.id in known for trace in pool]
        file = work.scratch / "scores.jsonl"
        rows = {}
        for own, row in by_problem(pairs, lambda: _Scorer(self), file, "scoring", len(pairs), work):
            rows[own[0].problem.id] = row
            work.ledger.add(tokens_in=row["tokens"])
        return [rows.get(problem.id, {}) for problem in problems]

    def arms(
        self,
        problem: Problem,
        pool: Sequence[Trace],
        alikes: Mapping[str, Sequence[Trace]],
        scores: Mapping[str, Any],
    ) -> dict[str, list[Trace]]:
        """What stands in a problem's prompts: nothing, a random trace, look-alikes, and a shortlist of the pool."""
        arms: dict[str, list[Trace]] = {"none": [], "random": [pool[0]]}
        for name, ranked in alikes.items():
            if (trace := next((t for t in ranked if self.fits(problem, t)), None)) is not None:
                arms[name] = [trace]
        order = np.argsort(-np.array(scores.get("means", [0.0] * len(pool))), kind="stable")[: self.config.shortlist]
        return arms | {f"{BEST}{n}": [pool[i]] for n, i in enumerate(order)}

    def ask(self, template: str, problem: Problem, arms: Mapping[str, list[Trace]], by_likelihood: bool) -> Asked:
        """A problem's prompts in one template.

        Raises:
            InputError: the prompt without a trace does not fit the model.
        """
        prompts = [self.ids(template, problem, traces) for traces in arms.values()]
        check_length(prompts[0], self.engine.context_length, problem.id, self.config.max_new_tokens)
        return Asked(template, problem, list(arms), prompts, by_likelihood)

    def measure(self, asked: Iterable[Asked]) -> Iterator[dict[str, Any]]:
        """A row for each problem asked, as they end: every arm's rewards, and what it took.

        The samples of several problems fill a batch, and an engine that takes several calls at once gets them. A row's
        seconds are those since the call that ended before, so that they add up to what the clock shows.
        """
        began = time.monotonic()
        for _, rows in self.engine.each(self._sample, _calls(asked, self.config)):
            seconds, began = time.monotonic() - began, time.monotonic()
            for row in rows:
                yield row | {"seconds": round(seconds / len(rows), 3)}

    def _prompt(self, template: str) -> PromptConfig:
        told = self.config.instruction
        if told is None:
            told = PromptConfig().instruction if template == "chat" else ""
        return PromptConfig.model_validate({"template": template, "instruction": told})

    def ids(self, template: str, problem: Problem, traces: Sequence[Trace]) -> list[int]:
        """Token ids of the prompt."""
        return render_prompt(self.engine.tokenizer, problem.question, traces, self.prompts[template])

    def _sample(self, call: Sequence[Asked]) -> list[dict[str, Any]]:
        """The rows of some problems: sampled and verified."""
        config = self.config
        prompts = [ids for one in call for ids in one.prompts]
        names = [f"{config.seed} {one.template} {one.problem.id} {arm}" for one in call for arm in one.arms]
        seeds = [zlib.crc32(name.encode()) for name in names]
        sampling = Sampling(config.max_new_tokens, config.temperature)
        groups = iter(self.engine.sample(prompts, [config.samples] * len(prompts), seeds, sampling))
        return [self._row(one, [next(groups) for _ in one.arms]) for one in call]

    def _row(self, asked: Asked, groups: Sequence[Sequence[Completion]]) -> dict[str, Any]:
        """What the samples of a problem's arms are worth."""
        completions = [one for group in groups for one in group]
        texts = [self.engine.tokenizer.decode(one.token_ids, skip_special_tokens=True) for one in completions]
        verdicts = iter(verify_problems([asked.problem] * len(texts), texts, self.config.reward))
        sampled = {}
        for name, group in zip(asked.arms, groups, strict=True):
            told = [next(verdicts) for _ in group]
            sampled[name] = Sampled([v.reward for v in told], [v.reason for v in told])
        sampled["best"] = _best([sampled.pop(name) for name in asked.arms if name.startswith(BEST)])
        return {
            "template": asked.template,
            "problem": asked.problem.id,
            "rewards": {name: one.rewards for name, one in sampled.items()},
            "reasons": {name: one.reasons for name, one in sampled.items()},
            "lengths": [len(one.token_ids) for one in completions],
            "truncated": sum(not one.finished for one in completions),
            "longest_prompt": max(map(len, asked.prompts)),
            "by_likelihood": asked.by_likelihood,
            "rollouts": len(completions),
            "tokens_in": sum(map(len, asked.prompts)),
            "tokens_out": sum(len(one.token_ids) for one in completions),
        }


def _calls(asked: Iterable[Asked], config: PreflightConfig) -> Iterator[list[Asked]]:
    """As many problems to a call as fill a batch."""
    call: list[Asked] = []
    for one in asked:
        if call and (len(call) + 1) * len(one.arms) * config.samples > config.batch_size:
            yield call
            call = []
        call.append(one)
    if call:
        yield call


def _best(tried: Sequence[Sampled]) -> Sampled:
    """What the best of the examples led to, without luck.

    Either half of the samples chooses the example that the other half scores, so that every sample counts.
    """
    middle = len(tried[0].rewards) // 2
    first, second = slice(0, middle), slice(middle, None)
    found = Sampled([], [])
    for chooses, scores in ((second, first), (first, second)):
        best = max(tried, key=lambda one: sum(one.rewards[chooses]))
        found.rewards.extend(best.rewards[scores])
        found.reasons.extend(best.reasons[scores])
    return found


class _Scorer:
    """Scores gold solutions under candidates; a worker of `by_problem`."""

    def __init__(self, policy: _Policy) -> None:
        self.policy, self.engine = policy, policy.engine
        self.since = time.monotonic()

    def close(self) -> None:
        """The engine goes on to sample."""

    def prepare(self, own: list[Pair]) -> tuple[list[Row], int]:
        """As `Worker.prepare`."""
        text = self.policy.solutions[own[0].problem.id]
        template = self.policy.scored_in
        rows = [Row(pair.trace.id, self.policy.ids(template, pair.problem, [pair.trace]), [text]) for pair in own]
        return rows, _tokens(rows)

    def compute(self, prepared: Sequence[list[Row]]) -> list[list[float]]:
        """For each problem the mean log-prob per token with each trace."""
        means = iter([mean for (mean,) in mean_logps(self.engine, [row for rows in prepared for row in rows])])
        return [[next(means) for _ in rows] for rows in prepared]

    def row(self, own: list[Pair], prepared: list[Row], computed: list[float]) -> dict[str, Any]:
        """As `Worker.row`; its seconds are those since the row before."""
        seconds, self.since = time.monotonic() - self.since, time.monotonic()
        rounded = [round(mean, 6) for mean in computed]
        return {"means": rounded, "tokens": _tokens(prepared), "seconds": round(seconds, 3)}


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(row.prompt) + sum(map(len, row.texts)) for row in rows)
