"""Train the retriever on labels: stage 2 of the method.

`rarft train-retriever --problems P --traces T --labels L --base-model M --output DIR`

The labelled problems are split, near-duplicates on one side; every epoch draws for each training problem some of its
relevant and some of its labelled non-relevant traces; the sentence-transformers trainer does the steps; held-out R@1 is
measured every epoch, the best checkpoint is kept, and training stops when it no longer grows. The output is a
sentence-transformers folder with `retriever.json` beside it. All draws are made before the first step from the seed, so
a run that was killed goes on exactly where its last checkpoint was.

Left out: mining hard negatives with the model under training (the labels bring judged ones).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from rarft.core.artifacts import write_json
from rarft.core.config import Config, Input, NotInResult
from rarft.core.estimate import Estimate, Known, times
from rarft.core.progress import log
from rarft.core.stages import Work, stage
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.same_problem import near_duplicate_groups, tokens
from rarft.retriever.encoder import Encoder, Kind, Part, load_encoder, quiet, trace_text, write_settings
from rarft.retriever.labels import Labels, Relations, read_labels


class TrainRetrieverConfig(Config):
    """Train a retriever on labels."""

    problems: Input
    """Problems: JSONL, Parquet, CSV, a `rarft prepare` folder, or a Hugging Face dataset id."""
    traces: Input
    """Traces, as problems."""
    labels: Input
    """Labels: a `rarft label` folder, or a Parquet or JSONL file with problem_id, trace_id, relevant, score."""
    base_model: Input = "lightonai/Reason-ModernColBERT"
    """Encoder to start from: folder or Hugging Face id of any encoder or ColBERT checkpoint, or `minilm`."""
    type: Kind = "multi-vector"
    """multi-vector: one vector per token, late interaction. single-vector: one per text."""
    part: Part = "both"
    """Which part of a trace is encoded: its problem, its solution, or both."""
    query_tokens: int = 256
    """Problems are cut at this many tokens."""
    trace_tokens: int = 256
    """Traces are cut at this many tokens."""
    dim: int = 128
    """Width of token vectors, where the base model has no projection yet; 0 keeps the encoder's own."""
    loss: Literal["auto", "infonce", "kl"] = "auto"
    """infonce: relevant against not. kl: match the scores' distribution. auto: kl where scores are graded."""
    temperature: float = 0.05
    """tau: similarities, which lie in [-1, 1], are divided by it."""
    score_temperature: float = 0.2
    """kl only: the labels' scores, brought to [0, 1] per problem, are divided by it."""
    mask_unjudged: bool = True
    """infonce only: an unjudged trace of the problem's own kind is no negative (it may be relevant)."""
    positives: int = 1
    """Relevant traces drawn per problem and epoch."""
    negatives: int = 2
    """Labelled non-relevant traces drawn per problem and epoch (kl: these many more, of any score)."""
    epochs: int = 3
    """Passes over the training problems."""
    max_steps: int = 0
    """Stop after this many optimiser steps; 0: epochs decide."""
    batch_size: int = 128
    """Problems per step; all traces of the batch serve all its problems."""
    mini_batch_size: int = 64
    """Texts encoded at a time (gradient caching): bounds memory at the price of a second forward; 0: all at once."""
    learning_rate: float = 3e-5
    """Peak, after the warm-up; then linear to 0."""
    warmup_ratio: float = 0.1
    """Share of the steps that warm up."""
    weight_decay: float = 0.01
    """AdamW's."""
    held_out: float = 0.1
    """Share of the labelled problems held out for R@1, early stopping and the best checkpoint; 0: none."""
    max_held_out: int = 10_000
    """At most this many problems are held out."""
    held_out_traces: int = 2000
    """Traces that held-out problems are ranked over: their labelled ones, then random ones up to this many."""
    evaluations_per_epoch: int = 1
    """How often held-out R@1 is measured and a checkpoint saved."""
    patience: int = 2
    """Stop after this many evaluations without a better R@1; 0: never."""
    report_to: Annotated[Literal["none", "trackio", "wandb", "tensorboard"], NotInResult] = "none"
    """Where training curves go."""
    seed: int = 0
    """Seed of the split, the draws and the new projection."""


def estimate(config: TrainRetrieverConfig, known: Known) -> Estimate:
    """Optimiser steps, at most: early stopping may need fewer."""
    problems = times(known.problems(config.problems), 1 - config.held_out)
    steps = times(problems, config.epochs / config.batch_size)
    return Estimate({"steps": min(filter(None, (steps, config.max_steps)), default=None)})


@stage("train-retriever", "stage 2: train a retriever on the labels", place=40, estimate=estimate)
def train_retriever(config: TrainRetrieverConfig, work: Work) -> None:
    """Train an encoder so that traces which help a problem rank first (PAPER, stage 2).

    Writes a sentence-transformers folder with `retriever.json` (how to encode, what it was trained on) and
    `held_out.json` (ids of the held-out problems); results: pairs, split sizes, held-out R@1 before and after.

    Raises:
        InputError: labels that fit no problem or trace, no problem with a relevant trace, no such model.
    """
    problems, traces = load_problems(config.problems), load_traces(config.traces)
    labels = read_labels(config.labels, problems, traces)
    use_kl = config.loss == "kl" or (config.loss == "auto" and labels.graded)
    train_ids, held_ids = split(problems, labels, config.held_out, config.max_held_out, config.seed, graded=use_kl)
    encoder = load_encoder(
        config.base_model,
        type=config.type,
        part=config.part,
        query_tokens=config.query_tokens,
        trace_tokens=config.trace_tokens,
        dim=config.dim,
        seed=config.seed,
    )
    work.results |= {
        "n_pairs": len(labels),
        "n_relevant": int(labels.relevant.sum()),
        "n_train_problems": len(train_ids),
        "n_held_out_problems": len(held_ids),
        "loss": "kl" if use_kl else "infonce",
    }
    log(
        f"training on {len(train_ids)} problems, holding out {len(held_ids)}; loss {work.results['loss']}, "
        f"{config.type}, trace part: {config.part}"
    )
    with quiet():
        best, tokens_in = _fit(config, work, encoder, problems, traces, labels, train_ids, held_ids, use_kl)
        encoder.model.save_pretrained(str(work.path), create_model_card=False)
    work.results |= best
    work.ledger.add(tokens_in=tokens_in)
    settings = replace(
        encoder.settings,
        base_model=config.base_model,
        trained_on=sorted({*encoder.settings.trained_on, *(fingerprint(problems[i].question) for i in train_ids)}),
    )
    write_settings(work.path, settings)


def fingerprint(question: str) -> str:
    """Short digest of a problem's levelled text, by which evaluation knows a problem that was trained on."""
    return hashlib.sha256(" ".join(tokens(question)).encode()).hexdigest()[:16]


def split(
    problems: Sequence[Problem], labels: Labels, share: float, at_most: int, seed: int, *, graded: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Split the labelled problems: indices to train on, and to hold out.

    Those that have a relevant trace; with `graded` scores also those whose traces differ in score, to train on only.
    Whole groups of near-duplicates go to one side. The held-out share is at most `share`, and empty if no group fits.
    """
    found, relevant = np.unique(labels.problem), np.unique(labels.problem[labels.relevant])
    usable = relevant
    if graded:
        place = np.searchsorted(found, labels.problem)
        low, high = np.full(len(found), np.inf), np.full(len(found), -np.inf)
        np.minimum.at(low, place, labels.score)
        np.maximum.at(high, place, labels.score)
        usable = np.union1d(relevant, found[high > low])
    groups = np.array(near_duplicate_groups([problems[i].question for i in usable]))
    wanted = min(at_most, int(share * len(relevant)))
    held = np.zeros(len(usable), dtype=bool)
    count = 0
    for group in np.random.default_rng(seed).permutation(np.unique(groups)):
        members = groups == group
        if count + members.sum() <= wanted and np.isin(usable[members], relevant).all():
            held |= members
            count += int(members.sum())
    return usable[~held], usable[held]


def draw(labels: Labels, train_ids: np.ndarray, config: TrainRetrieverConfig, use_kl: bool) -> list[dict[str, Any]]:
    """The rows of all epochs in order: `{"problem": index, "traces": [index, ...]}`.

    InfoNCE draws `positives` relevant and `negatives` non-relevant traces; KL the best-scored one and others at random.
    """
    rng = np.random.default_rng(config.seed)
    part = labels.of(train_ids)
    order = np.argsort(part.problem, kind="stable")
    bounds = (
        np.searchsorted(part.problem[order], train_ids, side="left"),
        np.searchsorted(part.problem[order], train_ids, side="right"),
    )
    rows = []
    for _ in range(config.epochs):
        for at in rng.permutation(len(train_ids)):
            mine = order[bounds[0][at] : bounds[1][at]]
            if use_kl:
                best = mine[np.argmax(part.score[mine])]
                others = mine[mine != best]
                count = min(len(others), config.positives + config.negatives - 1)
                chosen = [best, *rng.choice(others, count, replace=False)]
            else:
                good, bad = mine[part.relevant[mine]], mine[~part.relevant[mine]]
                chosen = [
                    *rng.choice(good, min(len(good), config.positives), replace=False),
                    *rng.choice(bad, min(len(bad), config.negatives), replace=False),
                ]
            rows.append({"problem": int(train_ids[at]), "traces": [int(part.trace[i]) for i in chosen]})
    return rows


class Collator:
    """Rows of indices to a tokenised batch: its problems, and the distinct traces of all of them."""

    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, problems: Sequence[Problem], traces: Sequence[Trace]) -> None:
        self.encoder, self.problems, self.traces = encoder, problems, traces
        self.tokens = 0

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Features `query_*` and `document_*`, and `label`: indices of the problems, then of the traces."""
        import torch

        ids = sorted({i for row in rows for i in row["traces"]})
        part, prompts = self.encoder.settings.part, self.encoder.model.prompts
        texts = {
            "query": [self.problems[row["problem"]].question for row in rows],
            "document": [trace_text(self.traces[i], part) for i in ids],
        }
        batch: dict[str, Any] = {"label": torch.tensor([*(row["problem"] for row in rows), *ids])}
        for task, found in texts.items():
            features = self.encoder.model.preprocess(found, prompt=prompts.get(task) or None, task=task)
            self.tokens += int(features["attention_mask"].sum())
            batch |= {f"{task}_{key}": value for key, value in features.items()}
        return batch


def _fit(
    config: TrainRetrieverConfig,
    work: Work,
    encoder: Encoder,
    problems: list[Problem],
    traces: list[Trace],
    labels: Labels,
    train_ids: np.ndarray,
    held_ids: np.ndarray,
    use_kl: bool,
) -> tuple[dict[str, Any], int]:
    """Run the trainer; leaves the best weights in `encoder.model`; returns results and tokens read."""
    from datasets import Dataset
    from transformers import EarlyStoppingCallback

    from rarft.retriever.loss import AnalogyLoss
    from rarft.retriever.trainer import HeldOutRecall, last_checkpoint, make_arguments, make_trainer

    if use_kl:
        labels = replace(labels, score=unit_scores(labels))
    rows = draw(labels, train_ids, config, use_kl)
    steps = math.ceil(len(rows) / config.batch_size)
    if config.max_steps:
        steps = min(steps, config.max_steps)
        rows = rows[: steps * config.batch_size]
    per_epoch = math.ceil(len(train_ids) / config.batch_size)
    every = max(1, min(steps, per_epoch // config.evaluations_per_epoch))
    evaluator = None
    if len(held_ids):
        evaluator = HeldOutRecall(encoder, problems, traces, labels.of(held_ids), config.held_out_traces, config.seed)
        if not (work.scratch / "before.txt").is_file():
            (work.scratch / "before.txt").write_text(str(evaluator.measure()[0]))
    loss = AnalogyLoss(
        encoder.model,
        Relations(labels, problems, traces),
        name="kl" if use_kl else "infonce",
        temperature=config.temperature,
        score_temperature=config.score_temperature,
        mask_unjudged=config.mask_unjudged,
        mini_batch_size=config.mini_batch_size,
    )
    collator = Collator(encoder, problems, traces)
    encoder.model.model_card_data.widget = [{}]  # none are looked for where some are; no card is written
    folder = work.scratch / "checkpoints"
    trainer = make_trainer(
        encoder,
        make_arguments(config, folder, steps, every, encoder, evaluated=evaluator is not None),
        train_dataset=Dataset.from_list(rows),
        loss=loss,
        evaluator=evaluator,
        collator=collator,
        callbacks=[EarlyStoppingCallback(config.patience, evaluator.least_gain)]
        if evaluator and config.patience
        else [],
        log_file=work.path / "log.jsonl",
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    results: dict[str, Any] = {"steps": trainer.state.global_step}
    if evaluator is not None:
        results |= {
            "held_out_r@1_before": float((work.scratch / "before.txt").read_text()),
            "held_out_r@1": max(row["eval_r@1"] for row in trainer.state.log_history if "eval_r@1" in row),
            "best_step": _step_of(trainer.state.best_model_checkpoint, trainer.state.global_step),
        }
        _write_held_out(work.path, [problems[i].id for i in held_ids])
    return results, collator.tokens


def unit_scores(labels: Labels) -> np.ndarray:
    """Scores brought to [0, 1] per problem, so that one temperature fits likelihoods and pass rates alike."""
    found = labels.score.copy()
    for i in np.unique(labels.problem):
        mine = labels.problem == i
        low, high = found[mine].min(), found[mine].max()
        found[mine] = (found[mine] - low) / (high - low) if high > low else 0.5
    return found


def _step_of(checkpoint: str | None, default: int) -> int:
    return int(Path(checkpoint).name.rsplit("-", 1)[-1]) if checkpoint else default


def _write_held_out(folder: Path, ids: list[str]) -> None:
    write_json(folder / "held_out.json", ids)
