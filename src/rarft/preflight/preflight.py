"""`rarft preflight`: will examples help this policy on these problems? Measured on a sample, before GPU days are spent.

    rarft preflight --problems P --traces T --model M --gold-solutions S --output runs/preflight

Accuracy bare; with a random example; with what BM25 and an untuned encoder think alike; and with the best of
`candidates` random examples: the `shortlist` that make the gold solution likeliest (random ones where no gold solution
is known) are sampled, and either half of the samples chooses the one that the other half scores, so that luck does not
count. The same examples in each prompt template. The candidates are the same traces for all problems, so that what is
computed of a trace serves them all. What follows from the numbers is in `verdict.py`. Each problem is on disk before
the next, so a killed run goes on. Left out: training; what RL makes of an example that does not help yet.
"""

import random
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
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
from rarft.models.prompts import PromptConfig, render_prompt, uses_chat
from rarft.preflight.verdict import conclude
from rarft.records.bm25 import BM25
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.same_problem import gold_solutions, may_stand_before
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.likelihood import Row, mean_logps
from rarft.relevance.resume import by_problem
from rarft.rewards.problems import check_problems, verify_problems
from rarft.rewards.sandbox import RewardConfig

ARMS = ("none", "random", "bm25", "untuned", "best")
Arm = tuple[str, list[Trace]]
"""An arm and the trace in its prompt, if any."""


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
    "preflight", "will worked examples help this policy? measured on a sample", place=5, estimate=estimate, version=4
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
    pools = candidates(problems, traces, config)
    alikes = _look_alikes(problems, traces, config)

    def arms_of(i: int) -> list[Arm]:
        alike: list[Arm] = [(name, [trace]) for name, best in alikes.items() if (trace := best[i]) is not None]
        return [("none", []), ("random", [pools[i][0]]), *alike]

    with closing(AppendLog(work.scratch / "problems.jsonl")) as kept:
        done = {(row["template"], row["problem"]): row for row in kept.rows()}
        with closing(_Policy(config)) as policy:
            ranked = policy.rank(problems, pools, solutions, work)
            plan = [(t, i) for t in policy.templates for i in range(len(problems))]
            left = [(t, i) for t, i in plan if (t, problems[i].id) not in done]
            asked = (policy.ask(t, problems[i], arms_of(i), ranked[i]) for t, i in left)
            with Progress("sampling", len(plan), len(plan) - len(left)) as progress:
                for row in policy.measure(asked):
                    done[row["template"], row["problem"]] = row
                    kept.append(row)
                    progress.advance()
            found = {str(t): [done[t, problem.id] for problem in problems] for t in policy.templates}
            facts: dict[str, Any] = {
                "context_length": policy.engine.context_length,
                "max_new_tokens": config.max_new_tokens,
                "problems": len(everything),
            }
    facts |= {"scored_pairs": sum(one.pairs for one in ranked), "scoring_seconds": sum(one.seconds for one in ranked)}
    for row in done.values():
        work.ledger.add(tokens_in=row["tokens_in"], tokens_out=row["tokens_out"], calls=1)
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


def candidates(problems: Sequence[Problem], traces: Sequence[Trace], config: PreflightConfig) -> list[list[Trace]]:
    """Each problem's random candidates, in an order of its own: the same traces, but those of the very problem.

    Raises:
        InputError: a problem for which there is no trace.
    """
    shuffled = random.Random(config.seed).sample(traces, len(traces))
    pools = []
    for problem in problems:
        pool = list(islice((t for t in shuffled if may_stand_before(t, problem)), config.candidates))
        if not pool:
            raise InputError(f"problem {problem.id}: every trace is of the same problem; give more traces")
        random.Random(f"{config.seed} {problem.id}").shuffle(pool)
        pools.append(pool)
    return pools


def _look_alikes(
    problems: Sequence[Problem], traces: Sequence[Trace], config: PreflightConfig
) -> dict[str, list[Trace | None]]:
    """For BM25 and for the untuned encoder each problem's best trace that the leak guard lets through."""
    from rarft.retriever.encoder import load_encoder
    from rarft.retriever.maxsim import scores

    questions = [problem.question for problem in problems]
    encoder = load_encoder(config.encoder)
    tables = {
        "bm25": BM25([f"{trace.problem} {trace.solution}" for trace in traces]).scores(questions),
        "untuned": scores(encoder.encode_problems(questions), encoder.encode_traces(traces)),
    }
    return {
        name: [_first(problem, traces, row) for problem, row in zip(problems, table, strict=True)]
        for name, table in tables.items()
    }


def _first(problem: Problem, traces: Sequence[Trace], scores: np.ndarray) -> Trace | None:
    ranked = (traces[int(i)] for i in np.argsort(-scores, kind="stable"))
    return next((trace for trace in ranked if may_stand_before(trace, problem)), None)


@dataclass
class Ranked:
    """A problem's candidates that are tried, the most promising first, and what it took to find them."""

    traces: list[Trace]
    pairs: int = 0
    """Candidates under which the gold solution was scored; 0 where there is none."""
    seconds: float = 0.0


class Asked(NamedTuple):
    """A problem in one template: its arms by name, the token ids of their prompts, and whether they fit the model."""

    template: str
    problem: Problem
    arms: list[str]
    prompts: list[list[int]]
    fits: list[bool]
    by_likelihood: bool
    """Whether the likelihood of the gold solution chose the traces among which the best is sought."""


@dataclass
class Sampled:
    """What one arm's prompt led to."""

    rewards: list[float]
    reasons: list[str]


class _Policy:
    """The engine, and a problem's arms."""

    def __init__(self, config: PreflightConfig) -> None:
        options = EngineOptions(dtype=config.dtype, batch_size=config.batch_size, vllm=config.vllm)
        self.config = config
        self.engine: Metered = open_engine(config.engine, config.model, options)
        has_chat = uses_chat(self.engine.tokenizer, PromptConfig())
        self.templates = [t for t in dict.fromkeys(config.templates) if t == "plain" or has_chat]
        if not self.templates:
            raise InputError(f"{config.model}: its tokenizer has no chat template; add plain to --templates")

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def rank(
        self, problems: Sequence[Problem], pools: Sequence[list[Trace]], solutions: Mapping[str, str], work: Work
    ) -> list[Ranked]:
        """What is tried of each problem's candidates: those that make its gold solution likeliest, else the first."""
        pairs = [Pair(p, trace) for p, pool in zip(problems, pools, strict=True) if p.id in solutions for trace in pool]
        file = work.scratch / "scores.jsonl"
        rows = {}
        for own, row in by_problem(pairs, lambda: _Scorer(self, solutions), file, "scoring", len(pairs), work):
            rows[own[0].problem.id] = row
        for row in rows.values():
            work.ledger.add(tokens_in=row["tokens"])
        found = []
        for problem, pool in zip(problems, pools, strict=True):
            row = rows.get(problem.id, {"means": [0.0] * len(pool), "traces": [], "seconds": 0.0})
            order = np.argsort(-np.array(row["means"]), kind="stable")[: self.config.shortlist]
            found.append(Ranked([pool[i] for i in order], len(row["traces"]), row["seconds"]))
        return found

    def ask(self, template: str, problem: Problem, arms: list[Arm], ranked: Ranked) -> Asked:
        """A problem's prompts in one template: the arms', and those with the traces among which the best is sought."""
        arms = [*arms, *((f"best-{n}", [trace]) for n, trace in enumerate(ranked.traces))]
        prompts = [self.ids(template, problem, traces) for _, traces in arms]
        limit = self.engine.context_length
        fits = [limit is None or len(ids) + self.config.max_new_tokens <= limit for ids in prompts]
        return Asked(template, problem, [name for name, _ in arms], prompts, fits, ranked.pairs > 0)

    def measure(self, asked: Iterable[Asked]) -> Iterator[dict[str, Any]]:
        """A row for each problem asked, as they end: every arm's rewards, and what it took.

        The samples of several problems fill a batch, and an engine that takes several calls at once gets them.
        """
        began = time.monotonic()
        for call, drawn in self.engine.each(self._sample, _calls(asked, self.config)):
            seconds, began = time.monotonic() - began, time.monotonic()
            for one, groups in zip(call, drawn, strict=True):
                yield self._row(one, groups, seconds / len(call))

    def _prompt(self, template: str) -> PromptConfig:
        told = self.config.instruction
        if told is None:
            told = PromptConfig().instruction if template == "chat" else ""
        return PromptConfig.model_validate({"template": template, "instruction": told})

    def ids(self, template: str, problem: Problem, traces: Sequence[Trace]) -> list[int]:
        """Token ids of the prompt."""
        return render_prompt(self.engine.tokenizer, problem.question, traces, self._prompt(template))

    def _sample(self, call: Sequence[Asked]) -> list[list[list[Completion]]]:
        """For each problem and arm its completions; none where the prompt does not fit the model."""
        config = self.config
        fits = [(one, n) for one in call for n, does in enumerate(one.fits) if does]
        seeds = [zlib.crc32(f"{config.seed} {one.template} {one.problem.id} {one.arms[n]}".encode()) for one, n in fits]
        sampling = Sampling(config.max_new_tokens, config.temperature)
        drawn = iter(
            self.engine.sample([one.prompts[n] for one, n in fits], [config.samples] * len(fits), seeds, sampling)
        )
        return [[next(drawn) if does else [] for does in one.fits] for one in call]

    def _row(self, asked: Asked, groups: Sequence[Sequence[Completion]], seconds: float) -> dict[str, Any]:
        """What the samples of a problem's arms are worth. A prompt that does not fit counts, as wrong."""
        config, decode = self.config, self.engine.tokenizer.decode
        texts = [decode(one.token_ids, skip_special_tokens=True) for group in groups for one in group]
        verdicts = iter(verify_problems([asked.problem] * len(texts), texts, config.reward))
        sampled = {}
        for name, group in zip(asked.arms, groups, strict=True):
            told = [next(verdicts) for _ in group]
            sampled[name] = Sampled(
                [v.reward for v in told] or [0.0] * config.samples,
                [v.reason for v in told] or ["too_long"] * config.samples,
            )
        tried = [sampled.pop(name) for name in asked.arms if name.startswith("best-")]
        rewards = {name: one.rewards for name, one in sampled.items()}
        best, group_of_best = _best(tried)
        completions = [one for group in groups for one in group]
        return {
            "template": asked.template,
            "problem": asked.problem.id,
            "rewards": rewards | {"best": best.rewards},
            "groups": rewards | {"best": group_of_best},
            "reasons": {name: one.reasons for name, one in (sampled | {"best": best}).items()},
            "lengths": [len(one.token_ids) for one in completions],
            "truncated": sum(not one.finished for one in completions),
            "longest_prompt": max(map(len, asked.prompts)),
            "by_likelihood": asked.by_likelihood,
            "seconds": round(seconds, 3),
            "rollouts": config.samples * len(asked.arms),
            "tokens_in": sum(len(ids) for ids, does in zip(asked.prompts, asked.fits, strict=True) if does),
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


def _best(tried: Sequence[Sampled]) -> tuple[Sampled, list[float]]:
    """What the best of the examples led to, without luck, and the rewards of all samples with it.

    Either half of the samples chooses the example that the other half scores, so that every sample counts. The group is
    that of the first half's choice.
    """
    first = slice(0, len(tried[0].rewards) // 2)
    second = slice(first.stop, None)

    def choice(half: slice) -> Sampled:
        return max(tried, key=lambda one: sum(one.rewards[half]))

    found = Sampled([], [])
    for chosen, half in ((choice(second), first), (choice(first), second)):
        found.rewards += chosen.rewards[half]
        found.reasons += chosen.reasons[half]
    return found, choice(first).rewards


class _Scorer:
    """Scores gold solutions under candidates; a worker of `by_problem`."""

    def __init__(self, policy: _Policy, solutions: Mapping[str, str]) -> None:
        self.policy, self.engine, self.solutions = policy, policy.engine, solutions
        self.template = "plain" if "plain" in policy.templates else policy.templates[0]
        self.since = time.monotonic()

    def close(self) -> None:
        """The engine goes on to sample."""

    def prepare(self, own: list[Pair]) -> tuple[list[Row], int]:
        """As `Worker.prepare`."""
        solution = self.solutions[own[0].problem.id]
        text = list(self.engine.tokenizer(solution, add_special_tokens=False)["input_ids"])
        rows = [Row(pair.trace.id, self.policy.ids(self.template, pair.problem, [pair.trace]), [text]) for pair in own]
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
