"""The minimum score, chosen on held-out labels: above it the best trace is likely relevant, below it likely not.

For each labelled problem the best trace of the index is looked up, as serving would (the answer-leak guard on). The
score that maximises balanced accuracy, (share of relevant ones kept + share of others left out) / 2, becomes the
minimum. Problems that the retriever was trained on and best traces that nobody judged don't count. The accuracy is
that of the chosen score on the labels that chose it, so a little too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rarft.core.errors import InputError
from rarft.records.labels import read_labels
from rarft.records.problems import load_problems
from rarft.retriever.encoder import fingerprint
from rarft.retriever.search import find_analogies
from rarft.retriever.trace_index import BASELINES, TraceIndex
from rarft.stats import balanced_threshold


@dataclass(frozen=True)
class Minimum:
    """A chosen minimum score, and how it was chosen."""

    value: float
    about: dict[str, Any]


def choose_minimum(index: TraceIndex, labels: str, problems: str) -> Minimum:
    """The minimum score for `index`.

    Raises:
        InputError: no problem has a best trace that was judged, or all were judged the same.
    """
    relevant: dict[tuple[str, str], bool] = {(x.problem_id, x.trace_id): x.relevant for x in read_labels(labels)}
    labelled = {problem for problem, _ in relevant}
    given = [problem for problem in load_problems(problems) if problem.id in labelled]
    seen = set() if index.info.type in BASELINES else set(index.encoder.settings.trained_on)
    asked = [problem for problem in given if fingerprint(problem.question) not in seen]
    hits = find_analogies(index, [problem.question for problem in asked], 1).hits
    best = [(problem.id, found[0]) for problem, found in zip(asked, hits, strict=True) if found]
    judged = [(hit.score, relevant[key]) for problem, hit in best if (key := (problem, hit.trace_id)) in relevant]
    if len({verdict for _, verdict in judged}) < 2:
        raise InputError(
            f"{labels}: of {len(given)} labelled problems {len(given) - len(asked)} were trained on and {len(judged)} "
            f"of the others have a best trace that was judged, {sum(v for _, v in judged)} of these relevant; a "
            "minimum score needs both kinds: label more held-out problems, or give --min-score"
        )
    value, accuracy = balanced_threshold([score for score, _ in judged], [verdict for _, verdict in judged])
    return Minimum(
        value,
        {
            "balanced_accuracy": round(accuracy, 4),
            "relevant": sum(verdict for _, verdict in judged),
            "not_relevant": sum(not verdict for _, verdict in judged),
            "not_judged": len(best) - len(judged),
            "trained_on": len(given) - len(asked),
        },
    )
