"""Compare labelers on the same pairs: do they agree, and is a judge's relevance a measured benefit?

    rarft audit runs/labels-judge runs/labels-pass-rate --output runs/audit

For every two label files: agreement, Cohen's kappa, and the ROC AUC of the one's score against the other's relevance
(both ways), each with a 95 % interval from resampling problems, since the pairs of one problem are not independent. The
AUC compares pairs of the same problem only: what a retriever has to do is to rank them.
For every file its cost per thousand pairs, from its stage's ledger. Left out: agreement of more than two at once.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from rarft.core.artifacts import MANIFEST, read_manifest, write_json
from rarft.core.config import Config, Input, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.stages import Work, stage
from rarft.records.labels import Label, read_labels
from rarft.stats import bootstrap_statistic


class AuditConfig(Config):
    labels: list[Input]
    """Two or more label files or `rarft label` folders that share pairs."""
    price_in: float = Field(0.0, ge=0)
    """Dollars per million prompt tokens, for the cost per thousand pairs."""
    price_out: float = Field(0.0, ge=0)
    """Dollars per million answer tokens, likewise."""
    resamples: int = Field(2000, ge=100, le=1_000_000)
    """Bootstrap resamples of the problems, for the intervals."""
    seed: Seed = 0
    """Seed of the resampling."""

    positional: ClassVar[str | None] = "labels"


def estimate(config: AuditConfig, known: Known) -> Estimate:
    """Label files, each of which is compared with each."""
    return Estimate({"files": len(config.labels)})


@stage("audit", "compare labelers on the same pairs", place=30, estimate=estimate)
def audit(config: AuditConfig, work: Work) -> None:
    """Compare labelers on the same pairs.

    Writes audit.json and audit.md, and prints the latter.

    Raises:
        InputError: fewer than two files, or two that share no pair.
    """
    if len(config.labels) < 2:
        raise InputError("audit compares labelers; give two or more label files")
    files = [{(row.problem_id, row.trace_id): row for row in read_labels(path)} for path in config.labels]
    names = _names(config.labels, files)
    labelers = [
        {"name": name, "path": path, "pairs": len(rows), "relevant": _share(list(rows.values()))} | _cost(path, config)
        for name, path, rows in zip(names, config.labels, files, strict=True)
    ]
    comparisons = []
    for (name_a, a), (name_b, b) in combinations(zip(names, files, strict=True), 2):
        shared = [pair for pair in a if pair in b]
        if not shared:
            raise InputError(
                f"{name_a} and {name_b} share no pair; label the same problems, traces, seed and candidates"
            )
        found = compare([a[pair] for pair in shared], [b[pair] for pair in shared], config.resamples, config.seed)
        comparisons.append({"a": name_a, "b": name_b, **found})
    result = {"labelers": labelers, "comparisons": comparisons}
    write_json(work.path / "audit.json", result)
    page = as_markdown(result)
    (work.path / "audit.md").write_text(page, encoding="utf-8")
    work.results["comparisons"] = comparisons
    print(page)


def compare(a: Sequence[Label], b: Sequence[Label], resamples: int, seed: int) -> dict[str, Any]:
    """Agreement of two labelers on the same pairs, in the same order.

    Returns:
        `agreement`, `kappa`, `auc_a_for_b` (ROC AUC of a's score against b's relevance) and `auc_b_for_a`, each
        `{"value", "low", "high"}` or None where it is undefined; `n_pairs`, `n_problems`.
    """
    yes_a, yes_b = (np.array([row.relevant for row in rows]) for rows in (a, b))
    score_a, score_b = (np.array([row.score for row in rows], dtype=float) for rows in (a, b))
    problems: dict[str, list[int]] = {}
    for i, row in enumerate(a):
        problems.setdefault(row.problem_id, []).append(i)
    groups = [np.array(rows) for rows in problems.values()]
    each = [np.array([i]) for i in range(len(groups))]
    a_for_b = np.array([comparisons(score_a[at], yes_b[at]) for at in groups])
    b_for_a = np.array([comparisons(score_b[at], yes_a[at]) for at in groups])
    measures: dict[str, tuple[Callable[[np.ndarray], float | None], list[np.ndarray]]] = {
        "agreement": (lambda at: float((yes_a[at] == yes_b[at]).mean()), groups),
        "kappa": (lambda at: kappa(yes_a[at], yes_b[at]), groups),
        "auc_a_for_b": (lambda of: _ratio(a_for_b[of]), each),
        "auc_b_for_a": (lambda of: _ratio(b_for_a[of]), each),
    }
    found: dict[str, Any] = {"n_pairs": len(a), "n_problems": len(groups)}
    for name, (measure, rows) in measures.items():
        value = measure(np.concatenate(rows))
        ends = None if value is None else bootstrap_statistic(measure, rows, draws=resamples, seed=seed)
        found[name] = None if ends is None else {"value": value, "low": ends[0], "high": ends[1]}
    return found


def kappa(a: np.ndarray, b: np.ndarray) -> float | None:
    """Cohen's kappa of two boolean arrays; None where chance alone would agree on everything."""
    from sklearn.metrics import cohen_kappa_score  # slow to import

    one_class = a.all() == a.any() and b.all() == b.any() and a[0] == b[0]
    return None if one_class else float(cohen_kappa_score(a, b))


def comparisons(scores: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """How often a relevant pair of one problem scores above another of it, ties counting half; and of how many.

    Args:
        scores: float `(n,)`; relevant: bool `(n,)`.
    """
    above = scores[relevant][:, None] - scores[~relevant][None, :]
    return float((above > 0).sum() + 0.5 * (above == 0).sum()), float(above.size)


def _ratio(rows: np.ndarray) -> float | None:
    won, compared = rows.sum(0)
    return float(won / compared) if compared else None


def _names(paths: Sequence[str], files: Sequence[dict[tuple[str, str], Label]]) -> list[str]:
    """What to call each file: its labelers, and its path where that is not enough."""
    kinds = ["+".join(sorted({row.labeler for row in rows.values()})) or "labels" for rows in files]
    stems = [Path(path).stem for path in paths]
    names = [f"{kind} ({stem})" if kinds.count(kind) > 1 else kind for kind, stem in zip(kinds, stems, strict=True)]
    return [f"{name} [{i + 1}]" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _share(rows: Sequence[Label]) -> float:
    return sum(row.relevant for row in rows) / max(len(rows), 1)


def _cost(path: str, config: AuditConfig) -> dict[str, Any]:
    """What a thousand pairs cost, by the stage's ledger; nothing for a bare file."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if not (folder / MANIFEST).is_file():
        return {"per_1000_pairs": None}
    manifest = read_manifest(folder)
    ledger, pairs = manifest["ledger"], max(int(manifest["results"].get("n_pairs", 0)), 1)
    per = {name: round(1000 * ledger[name] / pairs, 1) for name in ("wall_seconds", "tokens_in", "tokens_out", "calls")}
    dollars = (per["tokens_in"] * config.price_in + per["tokens_out"] * config.price_out) / 1e6
    return {"per_1000_pairs": per | {"dollars": round(dollars, 4)}}


def as_markdown(result: dict[str, Any]) -> str:
    """The tables of audit.md."""
    lines = ["| labeler | pairs | relevant | seconds / 1000 | tokens in, out / 1000 | calls / 1000 | $ / 1000 |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in result["labelers"]:
        per = row["per_1000_pairs"]
        cost = (
            f"{per['wall_seconds']:.0f} | {per['tokens_in']:.0f}, {per['tokens_out']:.0f} | {per['calls']:.0f} | "
            f"{per['dollars']:.2f}"
            if per
            else "? | ? | ? | ?"
        )
        lines.append(f"| {row['name']} | {row['pairs']} | {100 * row['relevant']:.1f} % | {cost} |")
    lines += ["", "| a | b | pairs (problems) | agreement | kappa | AUC of a for b | AUC of b for a |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in result["comparisons"]:
        cells = [_cell(row[name]) for name in ("agreement", "kappa", "auc_a_for_b", "auc_b_for_a")]
        lines.append(f"| {row['a']} | {row['b']} | {row['n_pairs']} ({row['n_problems']}) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: dict[str, float] | None) -> str:
    return "undefined" if value is None else f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
