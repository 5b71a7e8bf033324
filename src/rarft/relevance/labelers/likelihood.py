r"""The likelihood labeler: how much a trace raises the policy's log-probability of what is right.

For a problem q with gold answer a and a trace c, the gain is

    log P_M(a | q, c) / |a|  -  log P_M(a | q) / |a|

in nats per token, with a written as the policy has to write it, `\boxed{a}`; likewise for the gold solution where there
is one (a column `solution` of the problem, or a trace of the very same problem). `target` says which counts. The score
is how far the gain stands above those of the problem's other candidates (`relative.py`).

A prompt runs once for all texts that continue it; so does what prompts begin with, a trace that several problems of
one call have as their candidate. The prompt without a trace runs once for each problem. Left out: sampling. The
likelihood of a text that the policy would not write is a proxy; `rarft audit` says how good it is.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from rarft.core.config import Config, NotInResult
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.core.stages import Work
from rarft.models.engines.base import EngineOptions, Metered
from rarft.models.prompts import check_length, completion_ids, render_prompt
from rarft.records.labels import Label, read_labels
from rarft.records.problems import Problem, load_traces, require_answers
from rarft.records.same_problem import gold_solutions
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Setting, Write
from rarft.relevance.relative import deviations
from rarft.relevance.resume import by_problem
from rarft.stats import balanced_threshold


class LikelihoodConfig(Config):
    target: Literal["auto", "answer", "solution", "both"] = "auto"
    """What the policy should find likelier: the gold answer, the gold solution, or both (their mean); auto: the
    solution if every problem has one, else the answer (docs/label.md has what each was worth)."""
    threshold: float = 2.0
    """Score above which a pair is relevant, in standard deviations of the problem's candidates (docs/label.md)."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type; auto is that of the weights. On a CPU without bfloat16 products, bfloat16 is computed in float32."""
    batch_tokens: Annotated[int, NotInResult] = Field(EngineOptions.batch_tokens, ge=1)
    """Most tokens that one batch computes; 16,384 took 1.4 times as long on two cores (docs/engines.md)."""


class Likelihood(Labeler):
    """Labels pairs by the gain in log-probability."""

    Options = LikelihoodConfig
    options: LikelihoodConfig

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        """As `Labeler.label`. The pairs are gone through again once the threshold is known.

        Raises:
            InputError: a problem without the gold that is asked for, the model can't be loaded, a prompt does not fit
                it, or no threshold can be chosen.
        """
        targets = Targets(self.setting, self.options.target)
        gains: list[list[list[float]]] = []
        for _, row in by_problem(
            pairs,
            lambda: Scorer(self.setting, self.options, targets),  # no model is loaded where nothing is left to do
            scratch / f"likelihood-{'-'.join(targets.names)}.jsonl",
            "scoring",
            total,
            work,
        ):
            gains.append(row["gains"])
            work.ledger.add(tokens_in=row["tokens"])
        means = [[sum(gain) / len(gain) for gain in own] for own in gains]
        values = [float(value) for own in deviations(means) for value in own]
        threshold, facts = _choose_threshold(zip(pairs, values, strict=True), self.options, self.setting)
        target = "both" if len(targets.names) == 2 else targets.names[0]
        work.results |= {"likelihood_target": target, "likelihood_threshold": threshold, **facts}
        log(f"likelihood: relevant from {threshold:.2f} standard deviations above the problem's other candidates")
        for (problem, trace), gain, value in zip(pairs, chain.from_iterable(gains), values, strict=True):
            told = ", ".join(f"{name} {one:+.4f}" for name, one in zip(targets.names, gain, strict=True))
            rationale = f"{told} nats per token; {value:+.2f} deviations above the problem's candidates"
            write(Label(problem.id, trace.id, value > threshold, value, "likelihood", rationale))


class Targets:
    """What the policy should find likelier.

    Attributes:
        names: answer, solution or both. One choice for all problems: gains per token of short answers and of long
            solutions differ in scale.

    Raises:
        InputError: a problem without the gold that is asked for.
    """

    def __init__(self, setting: Setting, target: str) -> None:
        solved = load_traces(setting.gold_solutions) if setting.gold_solutions else setting.traces
        self._solutions = gold_solutions(setting.problems, solved)
        without = next((problem.id for problem in setting.problems if not self._solutions.get(problem.id)), None)
        if target == "auto":
            target = "answer" if without else "solution"
            log(f"likelihood: scored by the {target}")
            if without and any(problem.answer is None for problem in setting.problems):
                raise InputError("likelihood: some problems have no gold solution, others no answer; give all of one")
        if target in ("answer", "both"):
            require_answers(setting.problems, setting.problems_path, f"likelihood.target {target}")
        if target in ("solution", "both") and without:
            raise InputError(
                f"problem {without}: likelihood.target is {target}, but it has no gold solution; give problems a "
                "`solution` column, or use target auto or answer"
            )
        self.names = ["answer", "solution"] if target == "both" else [target]

    def of(self, problem: Problem) -> list[str]:
        """The texts, in the order of the names."""
        texts = {"answer": f"\\boxed{{{problem.answer}}}", "solution": self._solutions.get(problem.id)}
        return [str(texts[name]) for name in self.names]


class Prepared(NamedTuple):
    """A problem's prompts, the one without a trace first, and the texts that each is followed by, as token ids."""

    prompts: list[list[int]]
    texts: list[list[int]]
    traces: list[str]
    """Trace id of each prompt but the first."""


class Scorer:
    """Scores pairs with one model."""

    def __init__(self, setting: Setting, config: LikelihoodConfig, targets: Targets) -> None:
        self.engine = setting.open_engine(EngineOptions(dtype=config.dtype, batch_tokens=config.batch_tokens))
        self.prompt, self.targets = setting.prompt, targets

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def prepare(self, own: Sequence[Pair]) -> tuple[Prepared, int]:
        """As `Worker.prepare`."""
        engine, problem = self.engine, own[0].problem
        texts = [completion_ids(engine.tokenizer, text, self.prompt) for text in self.targets.of(problem)]
        contexts = [[], *([pair.trace] for pair in own)]
        prompts = [render_prompt(engine.tokenizer, problem.question, context, self.prompt) for context in contexts]
        for ids in prompts:
            check_length(ids, engine.context_length, problem.id, max(map(len, texts)))
        prepared = Prepared(prompts, texts, [pair.trace.id for pair in own])
        return prepared, _tokens(prepared)

    def compute(self, prepared: Sequence[Prepared]) -> list[list[list[float]]]:
        """For each problem, prompt and text the mean log-prob per token."""
        rows = [
            Row(trace, ids, problem.texts)
            for problem in prepared
            for trace, ids in zip([None, *problem.traces], problem.prompts, strict=True)
        ]
        means = iter(mean_logps(self.engine, rows))
        return [[next(means) for _ in problem.prompts] for problem in prepared]

    def row(self, own: Sequence[Pair], prepared: Prepared, computed: list[list[float]]) -> dict[str, Any]:
        """Gains of each pair, one for each text, and the tokens of prompts and texts."""
        base, *means = computed
        gains = [[round(a - b, 6) for a, b in zip(mean, base, strict=True)] for mean in means]
        return {"gains": gains, "tokens": _tokens(prepared)}


def _tokens(prepared: Prepared) -> int:
    return sum(map(len, prepared.prompts)) + len(prepared.prompts) * sum(map(len, prepared.texts))


class Row(NamedTuple):
    """A prompt and the texts that follow it, as token ids; `trace` names what stands in it."""

    trace: str | None
    prompt: list[int]
    texts: list[list[int]]


def mean_logps(engine: Metered, rows: Sequence[Row]) -> list[list[float]]:
    """Mean log-prob per token of each row's texts.

    Rows with the same trace begin with the same tokens, where the template puts the problem last. An engine computes a
    prompt once for all that continues it, so what they share goes in as the prompt, and the rest of each prompt before
    its text: fewer tokens, unless there are several texts to repeat it for.
    """
    places: dict[str | None, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[row.trace].append(i)
    prompts: list[list[int]] = []
    completions: list[list[list[int]]] = []
    of: list[list[int]] = []
    wanted: list[list[int]] = []
    for trace, group in places.items():
        shared = _shared([rows[i].prompt for i in group]) if trace is not None else 0
        saved = shared * (len(group) - 1)
        repeated = sum((len(rows[i].prompt) - shared) * (len(rows[i].texts) - 1) for i in group)
        if saved > repeated:
            prompts.append(rows[group[0]].prompt[:shared])
            completions.append([rows[i].prompt[shared:] + text for i in group for text in rows[i].texts])
            of.append(group)
            wanted.append([len(text) for i in group for text in rows[i].texts])
        else:
            prompts += [rows[i].prompt for i in group]
            completions += [rows[i].texts for i in group]
            of += [[i] for i in group]
            wanted += [list(map(len, rows[i].texts)) for i in group]
    found: list[list[float]] = [[] for _ in rows]
    for group, logps in zip(of, engine.score(prompts, completions, wanted), strict=True):
        values = iter(logps)
        for i in group:
            found[i] = [float(next(values).mean()) for _ in rows[i].texts]
    return found


def _shared(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, the last of each left out: something has to follow."""
    first, last = min(prompts), max(prompts)  # in the order of lists, what these two share all share
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _choose_threshold(
    scored: Iterable[tuple[Pair, float]], config: LikelihoodConfig, setting: Setting
) -> tuple[float, dict[str, Any]]:
    """The threshold, and what to note about its choice."""
    if setting.calibrate_on is None:
        return config.threshold, {}
    truth = {(row.problem_id, row.trace_id): row.relevant for row in read_labels(setting.calibrate_on)}
    known = [
        (value, truth[problem.id, trace.id]) for (problem, trace), value in scored if (problem.id, trace.id) in truth
    ]
    return calibrated_threshold(known, setting.calibrate_on, setting.seed)


def calibrated_threshold(known: Sequence[tuple[float, bool]], source: str, seed: int) -> tuple[float, dict[str, Any]]:
    """The threshold with the best balanced accuracy on half of the known pairs; checked on the other half.

    Args:
        known: `(score, relevant by the other labeler)`.

    Raises:
        InputError: fewer than two pairs of either kind.
    """
    yes = [value for value, relevant in known if relevant]
    no = [value for value, relevant in known if not relevant]
    if len(yes) < 2 or len(no) < 2:
        raise InputError(
            f"{source}: shares {len(yes)} relevant and {len(no)} other pairs with the candidates; calibration needs "
            "two of each (use the same seed, candidates and problems for both labelers)"
        )
    rng = np.random.default_rng(seed)
    yes, no = (rng.permutation(part).tolist() for part in (yes, no))
    best, balanced = balanced_threshold(yes[::2] + no[::2], [True] * len(yes[::2]) + [False] * len(no[::2]))
    held_out = float(((np.array(yes[1::2]) > best).mean() + (np.array(no[1::2]) <= best).mean()) / 2)
    return best, {
        "likelihood_calibration_pairs": len(known),
        "likelihood_balanced_accuracy": {"chosen_on": balanced, "held_out": held_out},
    }
