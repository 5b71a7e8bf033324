"""What it changes that benefit is relative: likelihood labels against the known structure, with and without it.

    python benchmarks/relative_benefit.py RUN/label RUN/testbed
    python benchmarks/relative_benefit.py RUN/label          # where no structure is known: the counts alone

Reads the labels of `rarft label --labeler likelihood` and the testbed they were made on; each rationale holds the gain
over no trace. Prints how well the gain over no trace and the deviations above the problem's other candidates find
the traces of the problem's own structure, over all pairs and within a problem; how often such a trace scores highest;
and what is called relevant by the labels and by the rule of version 0.2 (the best split in two, Otsu's, of the gains
above 0). Left out: whether the retriever gets better by it.
"""

import argparse
from collections import defaultdict

import numpy as np
from sklearn.metrics import roc_auc_score

from rarft.records.labels import Label, read_labels
from rarft.records.problems import load_problems, load_traces
from rarft.relevance.audit import comparisons


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels")
    parser.add_argument("testbed", nargs="?")
    options = parser.parse_args()
    labels = list(read_labels(options.labels))
    gain = np.array([float(row.rationale.split()[1].rstrip(",")) for row in labels])
    called = {
        "relevant by these labels": np.array([row.relevant for row in labels]),
        "by the best split of the gains above 0": gain > best_split(gain[gain > 0]),
    }
    print(
        f"{len(labels)} pairs of {len({row.problem_id for row in labels})} problems; mean gain over no trace "
        f"{gain.mean():+.2f} nats per token, {(gain > 0).mean():.1%} above 0"
    )
    if options.testbed:
        against_structure(labels, gain, called, options.testbed)
    else:
        for name, which in called.items():
            print(f"{name}: {which.sum()}")


def against_structure(labels: list[Label], gain: np.ndarray, called: dict[str, np.ndarray], testbed: str) -> None:
    """Print how gains, deviations and both verdicts agree with the structure."""
    asked = {p.id: p.extra["structure"] for p in load_problems(f"{testbed}/train")}
    told = {t.id: t.extra["structure"] for t in load_traces(f"{testbed}/corpus")}
    right = np.array([asked[row.problem_id] == told[row.trace_id] for row in labels])
    print(
        f"{right.sum()} of the problem's structure: mean gain {gain[right].mean():+.2f}, of the others "
        f"{gain[~right].mean():+.2f}"
    )
    own = defaultdict(list)
    for i, row in enumerate(labels):
        own[row.problem_id].append(i)
    groups = [np.array(rows) for rows in own.values()]
    with_one = [rows for rows in groups if right[rows].any()]
    scores = {"gain over no trace": gain, "deviations above the others": np.array([row.score for row in labels])}
    for name, score in scores.items():
        won, compared = np.sum([comparisons(score[rows], right[rows]) for rows in groups], axis=0)
        first = sum(bool(right[rows[score[rows].argmax()]]) for rows in with_one)
        print(
            f"{name}: AUC {roc_auc_score(right, score):.3f} over all pairs, {won / compared:.3f} within a problem; "
            f"highest for {first} of the {len(with_one)} problems that have one"
        )
    for name, which in called.items():
        print(f"{name}: {(which & right).sum()} of {which.sum()} have the structure")


def best_split(values: np.ndarray) -> float:
    """The threshold that parts values into two groups with the most variance between them (Otsu's)."""
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(ordered) - below)
    i = int(np.argmax(below * (len(ordered) - below) * (means[1] - means[0]) ** 2))
    return float((ordered[i] + ordered[i + 1]) / 2)


if __name__ == "__main__":
    main()
