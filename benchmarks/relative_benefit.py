"""What it changes that benefit is relative: labels by benefit over no trace, against benefit over the other candidates.

    python benchmarks/relative_benefit.py RUN/label RUN/testbed          # against the structure of a testbed
    python benchmarks/relative_benefit.py AUDIT/likelihood-solution AUDIT/pass-rate     # against measured benefit
    python benchmarks/relative_benefit.py RUN/label                      # the counts alone

Reads labels of `rarft label --labeler likelihood` or `pass-rate`; each rationale holds the benefit over no trace.
Prints how well that and the label's score, which is relative to the problem's other candidates, find the pairs that are
right, over all pairs and within a problem; how often such a trace scores highest; and what is called relevant by the
labels and by the rule of version 0.2: for likelihoods the best split in two (Otsu's) of the gains above 0, for pass
rates a higher accuracy than without a trace with probability 0.9. Right is a trace of the problem's own structure, or
what the second labels call relevant. Left out: whether the retriever gets better by it.
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from rarft.records.labels import Label, read_labels
from rarft.records.problems import load_problems, load_traces
from rarft.relevance.audit import comparisons
from rarft.relevance.labelers.pass_rate import probability_better

CONFIDENCE = 0.9


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels")
    parser.add_argument("against", nargs="?", help="a testbed's folder, or another label folder of the same pairs")
    options = parser.parse_args()
    labels = list(read_labels(options.labels))
    gain, old = over_none(labels)
    called = {
        "relevant by these labels": np.array([row.relevant for row in labels]),
        "by the rule of version 0.2": old,
    }
    unit = "nats per token" if labels[0].labeler == "likelihood" else "in accuracy"
    print(
        f"{len(labels)} pairs of {len({row.problem_id for row in labels})} problems; mean gain over no trace "
        f"{gain.mean():+.3f} {unit}, {(gain > 0).mean():.1%} above 0"
    )
    if options.against:
        print_against(labels, gain, called, right_pairs(labels, Path(options.against)))
    else:
        for name, which in called.items():
            print(f"{name}: {which.sum()}")


def over_none(labels: list[Label]) -> tuple[np.ndarray, np.ndarray]:
    """Each pair's gain over no trace, and whether version 0.2 would have called it relevant."""
    if labels[0].labeler == "likelihood":
        gain = np.array([float(row.rationale.split()[1].rstrip(",")) for row in labels])
        return gain, gain > best_split(gain[gain > 0])
    told = [[int(count) for count in re.findall(r"\d+(?=/)|(?<=/)\d+", row.rationale)] for row in labels]
    counts = [(right, n, base, n_base) for right, n, _, _, base, n_base in told]
    gain = np.array([right / n - base / n_base for right, n, base, n_base in counts])
    return gain, np.array([probability_better(*of_pair) >= CONFIDENCE for of_pair in counts])


def right_pairs(labels: list[Label], against: Path) -> np.ndarray:
    """Whether each pair is of one structure (a testbed), or relevant by other labels."""
    if (against / "corpus").is_dir():
        asked = {p.id: p.extra["structure"] for p in load_problems(f"{against}/train")}
        told = {t.id: t.extra["structure"] for t in load_traces(f"{against}/corpus")}
        return np.array([asked[row.problem_id] == told[row.trace_id] for row in labels])
    truth = {(row.problem_id, row.trace_id): row.relevant for row in read_labels(str(against))}
    return np.array([truth[row.problem_id, row.trace_id] for row in labels])


def print_against(labels: list[Label], gain: np.ndarray, called: dict[str, np.ndarray], right: np.ndarray) -> None:
    """Print how gains, scores and both verdicts agree with what is right."""
    print(f"{right.sum()} are right: mean gain {gain[right].mean():+.3f}, of the others {gain[~right].mean():+.3f}")
    own = defaultdict(list)
    for i, row in enumerate(labels):
        own[row.problem_id].append(i)
    groups = [np.array(rows) for rows in own.values()]
    with_one = [rows for rows in groups if right[rows].any()]
    scores = {"gain over no trace": gain, "score over the others": np.array([row.score for row in labels])}
    for name, score in scores.items():
        won, compared = np.sum([comparisons(score[rows], right[rows]) for rows in groups], axis=0)
        first = sum(bool(right[rows[score[rows].argmax()]]) for rows in with_one)
        print(
            f"{name}: AUC {roc_auc_score(right, score):.3f} over all pairs, {won / compared:.3f} within a problem; "
            f"highest for {first} of the {len(with_one)} problems that have one"
        )
    for name, which in called.items():
        print(f"{name}: {(which & right).sum()} of {which.sum()} are right")


def best_split(values: np.ndarray) -> float:
    """The threshold that parts values into two groups with the most variance between them (Otsu's); of one, itself."""
    ordered = np.sort(values)
    if len(ordered) < 2:
        return float(ordered.sum())
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(ordered) - below)
    i = int(np.argmax(below * (len(ordered) - below) * (means[1] - means[0]) ** 2))
    return float((ordered[i] + ordered[i + 1]) / 2)


if __name__ == "__main__":
    main()
