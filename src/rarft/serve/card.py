"""The model card of a bundle: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rarft.serve.folder import Description


def licence_of(folder: Path) -> str | None:
    """The licence that a model's own card names in its front matter."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^licen[cs]e:\s*(\S+)\s*$", front.group(1), re.MULTILINE) if front else None
    return found.group(1).strip("'\"") if found else None


def model_card(about: Description, sources: Mapping[str, str], n_traces: int, scores: Mapping[str, Any] | None) -> str:
    """README.md.

    Args:
        sources: what it was made from, by part: policy, retriever, index.
        scores: of scores.json.
    """
    known = sorted(set(about.licences.values()) - {"unknown"})
    licence = known[0] if len(known) == 1 and "unknown" not in about.licences.values() else "other"
    rows = [f"| {part} | {source} | {about.licences.get(part, 'unknown')} |" for part, source in sources.items()]
    if about.min_score is None:
        minimum = "There is no minimum score: the best example is always shown."
    else:
        how = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.min_score_from.items())
        minimum = f"Below a score of {about.min_score:.4g} no example is shown ({how})."
    return "\n".join(
        [
            "---",
            f"license: {licence}",
            "pipeline_tag: text-generation",
            "tags: [rarft, retrieval, reasoning]",
            "---",
            f"# {about.name}",
            "",
            "A policy with the retriever and the index that it was trained with, as one folder. For a problem the "
            "retriever finds the worked example that helps, and the policy answers with it in its prompt.",
            "",
            "    pip install 'rarft[serve]'",
            "    rarft serve FOLDER          # the OpenAI API on http://127.0.0.1:8000, and a page to play with",
            "",
            "| part | made from | licence |",
            "|---|---|---|",
            *rows,
            "",
            f"{n_traces:,} worked examples; {about.top_k} of them in a prompt. {minimum} The prompt's settings, the "
            "versions and the digest of every file are in bundle.json; only safetensors are loaded.",
            *(["", *_scores(scores)] if scores else []),
            "",
        ]
    )


def _scores(scores: Mapping[str, Any]) -> list[str]:
    k = scores["k"]
    lines = [f"| benchmark | avg@{k}, % | pass@{k}, % | maj@{k}, % |", "|---|---|---|---|"]
    for name, block in scores["benchmarks"].items():
        cells = [block[f"{metric}@k"] for metric in ("avg", "pass", "maj")]
        told = [f"{100 * c['value']:.1f} [{100 * c['low']:.1f}, {100 * c['high']:.1f}]" for c in cells]
        lines.append(f"| {name} | {' | '.join(told)} |")
    return lines
