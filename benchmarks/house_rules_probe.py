"""What a pretrained model makes of the house rules before any RL, with a precedent, with a look-alike, with nothing.

    rarft testbed --domain house-rules --output runs/house-rules/testbed
    python benchmarks/house_rules_probe.py runs/house-rules/testbed MODEL --output runs/probe

Evaluates MODEL on `eval` with the precedent that the structure names, with a look-alike (another situation at the same
place), and with no example. Then labels pairs by the likelihood of the solution and compares with the structure: AUC,
and how often the precedent scores highest. Each part is a stage: started again, it goes on where it was. Works on the
library's testbed too, with `--reward code`. Left out: training.
"""

import argparse
import random
from pathlib import Path

from rarft.core.artifacts import read_manifest
from rarft.evaluation.evaluate import EvaluateConfig, evaluate
from rarft.models.prompts import PromptConfig
from rarft.records.analogies import ANALOGIES, Analogy, write_analogies
from rarft.records.labels import read_labels
from rarft.records.problems import load_problems, load_traces
from rarft.records.rows import write_jsonl
from rarft.relevance.candidates import CandidateConfig
from rarft.relevance.label import LabelConfig, label
from rarft.relevance.labelers.likelihood import LikelihoodConfig

PROMPT = PromptConfig(template="plain", instruction="")


def main() -> None:
    """Read the command line and print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("testbed", type=Path)
    parser.add_argument("model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--reward", default="math")
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--labelled", type=int, default=6, help="problems that pairs are labelled for; 0: none")
    parser.add_argument("--candidates", type=int, default=12, help="traces labelled for each of them")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    problems = load_problems(str(options.testbed / "eval"))
    problems = rng.sample(problems, min(options.problems, len(problems)))
    traces = load_traces(str(options.testbed / "corpus"))
    asked = options.output / "problems.jsonl"
    write_jsonl(asked, problems)
    for context, column in (("precedent", "structure"), ("look-alike", "place"), ("none", None)):
        chosen = {}
        if column:
            folder = options.output / f"{context}-traces"
            folder.mkdir(exist_ok=True)
            alike = {p.id: [t.id for t in traces if t.extra[column] == p.extra[column]] for p in problems}
            rows = [Analogy(name, 1, rng.choice(found), 1.0) for name, found in alike.items()]
            write_analogies(folder / ANALOGIES, rows)
            chosen = {"traces": str(options.testbed / "corpus"), "analogies": str(folder)}
        config = EvaluateConfig(
            problems=[str(asked)], model=options.model, prompt=PROMPT, reward=options.reward, samples=options.samples,
            max_new_tokens=options.max_new_tokens, seed=options.seed, **chosen,
        )  # fmt: skip
        found = read_manifest(evaluate(config, options.output / context))["results"]
        print(f"{context}: avg@{options.samples} {found['avg@k']:.3f} [{found['low']:.3f}, {found['high']:.3f}]")
    if options.labelled:
        print(agreement(options, asked))


def agreement(options: argparse.Namespace, asked: Path) -> str:
    """How well the likelihood of the solution finds the structure."""
    from sklearn.metrics import roc_auc_score

    few = options.output / "labelled.jsonl"
    problems = load_problems(str(asked))[: options.labelled]
    write_jsonl(few, problems)
    config = LabelConfig(
        problems=str(few), traces=str(options.testbed / "corpus"), labeler="likelihood", model=options.model,
        prompt=PROMPT, gold_solutions=str(options.testbed / "eval"), seed=options.seed,
        likelihood=LikelihoodConfig(target="solution"), candidates=CandidateConfig(per_problem=options.candidates),
    )  # fmt: skip
    labels = list(read_labels(str(label(config, options.output / "labels"))))
    structure = {r.id: r.extra["structure"] for r in (*problems, *load_traces(config.traces))}
    right = [structure[row.problem_id] == structure[row.trace_id] for row in labels]
    with_one = {row.problem_id for row, is_right in zip(labels, right, strict=True) if is_right}
    best = {name: max((r for r in labels if r.problem_id == name), key=lambda r: r.score) for name in with_one}
    hits = sum(structure[name] == structure[row.trace_id] for name, row in best.items())
    auc = f"AUC {roc_auc_score(right, [row.score for row in labels]):.3f}" if any(right) else "no precedent among them"
    return (
        f"likelihood: {len(labels)} pairs, {sum(right)} precedents, {auc}, best for {hits} of {len(with_one)} problems"
    )


if __name__ == "__main__":
    main()
