r"""The likelihood labeler: how much a trace raises the policy's log-probability of what is right.

For a problem q with gold answer a and a trace c, the gain is

    log P_M(a | q, c) / |a|  -  log P_M(a | q) / |a|

in nats per token, with a written as the policy has to write it, `\boxed{a}`; likewise for the gold solution where there
is one (a column `solution` of the problem, or a trace of the very same problem). `target` says which is the score.
Both texts of a pair continue one prompt, which runs once; the prompt without a trace runs once for each problem. Left
out: sampling. The likelihood of a text that the policy would not write is a proxy; `rarft audit` says how good it is.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from rarft.core.config import Config, NotInResult
from rarft.core.errors import InputError
from rarft.core.progress import log
from rarft.core.stages import Work
from rarft.models.engines.base import EngineOptions
from rarft.models.prompts import check_length, render_prompt
from rarft.records.labels import Label, read_labels
from rarft.records.problems import Problem, load_traces, require_answers
from rarft.records.same_problem import letters
from rarft.relevance.candidates import Pair
from rarft.relevance.labelers.base import Labeler, Setting, Write
from rarft.relevance.resume import by_problem

HELD_OUT_SHARE, HELD_OUT_LEAST = 0.1, 200


class LikelihoodConfig(Config):
    target: Literal["auto", "answer", "solution", "both"] = "auto"
    """What the policy should find likelier: the gold answer, the gold solution, or both (their mean); auto: the
    solution if every problem has one, else the answer (docs/label.md has what each was worth)."""
    threshold: float | None = None
    """Score above which a pair is relevant, in nats per token; without it, the best split in two of the gains above 0
    among held-out pairs."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the model; auto is that of its weights."""
    batch_tokens: Annotated[int, NotInResult] = Field(16384, ge=1)
    """Most tokens that one batch computes, padding included."""


class Scored(NamedTuple):
    """Gains of one pair, nats per token."""

    answer: float | None
    solution: float | None

    def score(self, target: str) -> float:
        """The gain that `target` asks for."""
        gains = [gain for name, gain in self._asdict().items() if gain is not None and target in (name, "both")]
        return sum(gains) / len(gains)


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
        if self.options.target in ("answer", "both"):
            why = f"likelihood.target {self.options.target}"
            require_answers(self.setting.problems, self.setting.problems_path, why)
        scores = self._score_all(pairs, total, work, scratch)
        target = self.options.target
        if target == "auto":  # one target for all: gains per token of short answers and long solutions differ in scale
            target = "answer" if any(scored.solution is None for scored in scores) else "solution"
            if target == "answer" and any(scored.answer is None for scored in scores):
                raise InputError("likelihood: some problems have no gold solution, others no answer; give all of one")
            log(f"likelihood: scored by the {target}")
        values = [scored.score(target) for scored in scores]
        threshold, facts = _choose_threshold(pairs, values, self.options, self.setting)
        work.results |= {"likelihood_target": target, "likelihood_threshold": threshold, **facts}
        log(f"likelihood: relevant above {threshold:.4f} nats per token")
        for (problem, trace), scored, value in zip(pairs, scores, values, strict=True):
            gains = ", ".join(f"{name} {gain:+.4f}" for name, gain in scored._asdict().items() if gain is not None)
            write(Label(problem.id, trace.id, value > threshold, value, "likelihood", gains + " nats per token"))

    def _score_all(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path) -> list[Scored]:
        """Score every pair; those that an earlier run has scored are not computed again."""
        scorer = cache(lambda: Scorer(self.setting, self.options))  # no model is loaded where nothing is left to do
        scores: list[Scored] = []
        rows = by_problem(pairs, lambda own: scorer().score(own), scratch / "likelihood.jsonl", "scoring", total)
        for _, row in rows:
            scores += [Scored(*gains) for gains in row["scores"]]
            work.ledger.add(tokens_in=row["tokens"])
        return scores


class Scorer:
    """Scores pairs with one model."""

    def __init__(self, setting: Setting, config: LikelihoodConfig) -> None:
        self.engine = setting.open_engine(EngineOptions(dtype=config.dtype, batch_tokens=config.batch_tokens))
        self.config, self.prompt = config, setting.prompt
        solved = load_traces(setting.gold_solutions) if setting.gold_solutions else setting.traces
        self.solutions = {letters(trace.problem): trace.solution for trace in solved}

    def score(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Gains `[answer, solution]` of each pair of one problem (None for what it lacks), and the tokens run."""
        engine, problem = self.engine, pairs[0].problem
        targets = self._targets(problem)
        texts = list(targets.values())
        prompts = [render_prompt(engine.tokenizer, problem.question, [], self.prompt)]
        prompts += [render_prompt(engine.tokenizer, problem.question, [pair.trace], self.prompt) for pair in pairs]
        for ids in prompts:
            check_length(ids, engine.context_length, problem.id, max(map(len, texts)))
        logps = engine.score(prompts, [texts] * len(prompts))
        base, *means = [[float(row.mean()) for row in rows] for rows in logps]
        found = []
        for mean in means:
            gains = {name: round(a - b, 6) for name, a, b in zip(targets, mean, base, strict=True)}
            found.append([gains.get(name) for name in Scored._fields])
        return {"scores": found, "tokens": sum(map(len, prompts)) + len(prompts) * sum(map(len, texts))}

    def _targets(self, problem: Problem) -> dict[str, list[int]]:
        """Token ids of the boxed gold `answer`, and of the gold `solution` if asked for, as far as they exist."""
        texts = {"answer": f"\\boxed{{{problem.answer}}}"} if problem.answer is not None else {}
        solution = problem.extra.get("solution") or self.solutions.get(letters(problem.question))
        if solution and self.config.target != "answer":
            texts["solution"] = str(solution).strip()
        elif self.config.target in ("solution", "both"):
            raise InputError(
                f"problem {problem.id}: likelihood.target is {self.config.target}, but it has no gold solution; "
                "give problems a `solution` column, or use target auto or answer"
            )
        if not texts:
            raise InputError(f"problem {problem.id}: has neither an answer nor a gold solution; likelihood needs one")
        tokenizer = self.engine.tokenizer
        return {name: list(tokenizer(text, add_special_tokens=False)["input_ids"]) for name, text in texts.items()}


def _choose_threshold(
    pairs: Iterable[Pair], values: Sequence[float], config: LikelihoodConfig, setting: Setting
) -> tuple[float, dict[str, Any]]:
    """The threshold, and what to note about its choice."""
    calibrate_on, seed = setting.calibrate_on, setting.seed
    if config.threshold is not None:
        return config.threshold, {}
    if calibrate_on is not None:
        truth = {(row.problem_id, row.trace_id): row.relevant for row in read_labels(calibrate_on)}
        known = [
            (value, truth[problem.id, trace.id])
            for (problem, trace), value in zip(pairs, values, strict=True)
            if (problem.id, trace.id) in truth
        ]
        return calibrated_threshold(known, calibrate_on, seed)
    rng = np.random.default_rng(seed)
    size = min(len(values), max(HELD_OUT_LEAST, int(HELD_OUT_SHARE * len(values))))
    held_out = np.asarray(values)[np.sort(rng.permutation(len(values))[:size])]
    split = best_split(held_out[held_out > 0])  # what does not raise the probability is not relevant
    return split, {"likelihood_held_out_pairs": size}


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
    halves = [
        (np.asarray(part)[order := rng.permutation(len(part))][::2], np.asarray(part)[order][1::2])
        for part in (yes, no)
    ]

    def balanced(threshold: float, half: int) -> float:
        return float(((halves[0][half] > threshold).mean() + (halves[1][half] <= threshold).mean()) / 2)

    values = np.sort(np.concatenate([halves[0][0], halves[1][0]]))
    options = (values[1:] + values[:-1]) / 2
    best = max(options.tolist(), key=lambda threshold: balanced(threshold, 0))
    return best, {
        "likelihood_calibration_pairs": len(known),
        "likelihood_balanced_accuracy": {"chosen_on": balanced(best, 0), "held_out": balanced(best, 1)},
    }


def best_split(values: Any) -> float:
    """The threshold that parts values into two groups with the most variance between them (Otsu's); 0 if all agree."""
    ordered = np.sort(np.asarray(values, dtype=float))
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        return 0.0
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    mean_below = sums[:-1] / below
    mean_above = (sums[-1] - sums[:-1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (mean_above - mean_below) ** 2
    i = int(np.argmax(between))
    return float((ordered[i] + ordered[i + 1]) / 2)
