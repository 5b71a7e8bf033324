"""Train the retriever on labels: stage 2 of the method.

`rarft train-retriever --problems P --traces T --labels L --base-model M --output DIR`

The labelled problems are split, near-duplicates on one side; every epoch draws for each training problem some of its
relevant and some of its labelled non-relevant traces; the sentence-transformers trainer does the steps; held-out R@1 is
measured before training and every epoch, the best is kept, the untuned encoder if nothing beats it, and training stops
when R@1 no longer grows. The output is a sentence-transformers folder with `retriever.json` beside it. All draws are
made before the first step from the seed, so a run that was killed goes on exactly where its last checkpoint was.

Left out: mining hard negatives with the model under training (the labels bring judged ones).
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rarft.core.artifacts import write_json
from rarft.core.checkpoints import last_checkpoint
from rarft.core.doors import check_installed
from rarft.core.estimate import Estimate, Known, times
from rarft.core.progress import log
from rarft.core.stages import Work, stage
from rarft.records.problems import Problem, Trace, load_problems, load_traces
from rarft.records.same_problem import near_duplicate_groups
from rarft.retriever.config import TrainRetrieverConfig
from rarft.retriever.encoder import Encoder, fingerprint, load_encoder, quiet, trace_text, write_settings
from rarft.retriever.labels import Labels, Relations, read_labels

PROJECTED = 128
"""At most so many traces' token vectors give a new projection its principal components."""


def estimate(config: TrainRetrieverConfig, known: Known) -> Estimate:
    """Optimiser steps, at most: early stopping may need fewer."""
    problems = times(known.problems(config.problems), 1 - config.held_out)
    steps = times(problems, config.epochs / config.batch_size)
    return Estimate({"steps": min(filter(None, (steps, config.max_steps)), default=None)})


@stage("train-retriever", "stage 2: train a retriever on the labels", place=40, estimate=estimate)
def train_retriever(config: TrainRetrieverConfig, work: Work) -> None:
    """Train an encoder so that traces which help a problem rank first.

    Writes a sentence-transformers folder with `retriever.json` (how to encode, what it was trained on) and
    `held_out.json` (ids of the held-out problems); results: pairs, split sizes, held-out R@1 before and after, and
    which was kept: the untuned encoder counts as the first checkpoint.

    Raises:
        InputError: labels that fit no problem or trace, no problem with a relevant trace, no such model or tracker.
    """
    if config.report_to != "none":
        check_installed(config.report_to, "report-to")
    problems, traces = load_problems(config.problems), load_traces(config.traces)
    labels = read_labels(config.labels, problems, traces)
    use_kl = config.loss == "kl" or (config.loss == "auto" and labels.graded)
    train_ids, held_ids = split(problems, labels, config.held_out, config.max_held_out, config.seed)
    encoder = _load(config)
    before = encoder.settings.trained_on
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
        found, tokens_in = _fit(config, work, encoder, problems, traces, labels, train_ids, held_ids, use_kl)
        work.results |= found
        work.ledger.add(tokens_in=tokens_in)
        if found["kept"] == "untuned":
            encoder, train_ids = _load(config), train_ids[:0]
        encoder.save(work.path)
    write_json(work.path / "held_out.json", [problems[i].id for i in held_ids])
    trained_on = sorted({*before, *(fingerprint(problems[i].question) for i in train_ids)})
    write_settings(work.path, replace(encoder.settings, base_model=config.base_model, trained_on=trained_on))


def _load(config: TrainRetrieverConfig) -> Encoder:
    return load_encoder(
        config.base_model,
        type=config.type,
        part=config.part,
        query_tokens=config.query_tokens,
        trace_tokens=config.trace_tokens,
    )


def split(
    problems: Sequence[Problem], labels: Labels, share: float, at_most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split the labelled problems that have a relevant trace: indices to train on, and to hold out.

    Others are left out, also where scores are graded: their best trace is mostly the wrong one (docs/retriever.md).
    Whole groups of near-duplicates go to one side. The held-out share is at most `share`, and empty if no group fits.
    """
    usable = np.unique(labels.problem[labels.relevant])
    groups = np.array(near_duplicate_groups([problems[i].question for i in usable]))
    wanted = min(at_most, int(share * len(usable)))
    held = np.zeros(len(usable), dtype=bool)
    count = 0
    for group in np.random.default_rng(seed).permutation(np.unique(groups)):
        members = groups == group
        if count + members.sum() <= wanted:
            held |= members
            count += int(members.sum())
    return usable[~held], usable[held]


def draw(labels: Labels, train_ids: np.ndarray, config: TrainRetrieverConfig, use_kl: bool) -> list[dict[str, Any]]:
    """The rows of all epochs in order: `{"problem": index, "traces": [index, ...]}`.

    Problems that were judged with the same traces follow each other, so that a batch holds fewer traces and more pairs
    that were judged. InfoNCE draws `positives` relevant and `negatives` non-relevant traces; KL the best-scored one and
    others at random.
    """
    rng = np.random.default_rng(config.seed)
    part = labels.of(train_ids)
    order = np.argsort(part.problem, kind="stable")
    bounds = (
        np.searchsorted(part.problem[order], train_ids, side="left"),
        np.searchsorted(part.problem[order], train_ids, side="right"),
    )
    together = companies(part.problem, part.trace, train_ids)
    rows = []
    for _ in range(config.epochs):
        shuffled = rng.permutation(len(train_ids))
        turn = rng.permutation(together.max() + 1)[together[shuffled]]
        for at in shuffled[np.argsort(turn, kind="stable")]:
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


def companies(problem: np.ndarray, trace: np.ndarray, train_ids: np.ndarray) -> np.ndarray:
    """For each of `train_ids` the number of its company: those it is linked with by traces that both were judged with.

    Args:
        problem, trace: (pairs,) indices of the pairs judged.
        train_ids: indices of these problems, ascending.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(train_ids) + int(trace.max()) + 1
    links = np.searchsorted(train_ids, problem), len(train_ids) + trace
    graph = coo_array((np.ones(len(trace), dtype=bool), links), shape=(size, size))
    return np.unique(connected_components(graph, directed=False)[1][: len(train_ids)], return_inverse=True)[1]


class Collator:
    """Rows of indices to a tokenised batch: its problems, and the distinct traces of all of them."""

    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, problems: Sequence[Problem], traces: Sequence[Trace]) -> None:
        self.encoder, self.problems, self.traces = encoder, problems, traces

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
            batch |= {f"{task}_{key}": value for key, value in features.items()}
        return batch

    def count_tokens(self, rows: list[dict[str, Any]], batch_size: int) -> int:
        """Tokens that the steps over `rows` read; counted from these, so that none is lost where a run was killed."""
        batches = (self(rows[at : at + batch_size]) for at in range(0, len(rows), batch_size))
        return sum(int(b[f"{task}_attention_mask"].sum()) for b in batches for task in ("query", "document"))


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

    from rarft.retriever.loss import AnalogyLoss
    from rarft.retriever.trainer import HeldOutRecall, Monitor, make_arguments, make_trainer

    if use_kl:
        labels = replace(labels, score=unit_scores(labels))
    rows = draw(labels, train_ids, config, use_kl)
    steps = math.ceil(len(rows) / config.batch_size)
    if config.max_steps:
        steps = min(steps, config.max_steps)
        rows = rows[: steps * config.batch_size]
    per_epoch = math.ceil(len(train_ids) / config.batch_size)
    every = max(1, min(steps, per_epoch // config.evaluations_per_epoch))
    evaluator, untuned, least_gain, before = None, None, 0.0, 0.0
    if len(held_ids):
        evaluator = HeldOutRecall(encoder, problems, traces, labels.of(held_ids), config.held_out_traces, config.seed)
        before, margin = _once(work.scratch / "untuned.json", evaluator.measure)
        untuned, least_gain = evaluator.rank(before, margin), evaluator.least_gain
        log(f"untuned: held-out R@1 {before:.3f}")
    if config.train == "linear":
        encoder.freeze()
    if config.train == "linear" or (config.dim and config.type == "multi-vector"):
        width = config.dim if config.type == "multi-vector" else 0
        labelled = np.unique(labels.trace)
        encoder.project(width or encoder.width, [traces[i] for i in labelled[:: len(labelled) // PROJECTED + 1]])
    loss = AnalogyLoss(
        encoder.model,
        Relations(labels, problems, traces),
        name="kl" if use_kl else "infonce",
        temperature=config.temperature,
        score_temperature=config.score_temperature,
        mask_unjudged=config.mask_unjudged,
        mini_batch_size=config.mini_batch_size,
        dropout=config.dropout,
    )
    collator = Collator(encoder, problems, traces)
    encoder.model.model_card_data.widget = [{}]  # none are looked for where some are; no card is written
    folder = (work.scratch / "checkpoints").resolve()
    monitor = Monitor(work.path / "log.jsonl", untuned, least_gain, config.patience)
    checkpoint = last_checkpoint(folder)
    if checkpoint and (ended := monitor.last_step(checkpoint)):  # nothing is left to train
        steps, rows = ended, rows[: ended * config.batch_size]
    trainer = make_trainer(
        encoder,
        make_arguments(config, folder, steps, every, encoder, evaluated=evaluator is not None),
        train_dataset=Dataset.from_list(rows),
        loss=loss,
        evaluator=evaluator,
        collator=collator,
        monitor=monitor,
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    done, best = trainer.state.global_step, trainer.state.best_model_checkpoint
    results: dict[str, Any] = {"steps": done, "kept": "trained"}
    if evaluator is not None:
        trained = max(row["eval_r@1"] for row in trainer.state.log_history if "eval_r@1" in row)
        results |= {"held_out_r@1_before": before, "held_out_r@1_trained": trained}
        results |= (
            {"held_out_r@1": trained, "best_step": int(best.rsplit("-", 1)[-1])}
            if best
            else {"held_out_r@1": before, "best_step": 0, "kept": "untuned"}
        )
        if not best:
            log(
                f"no checkpoint is better than the untuned encoder (held-out R@1 {trained:.3f} at best, untuned "
                f"{before:.3f}): the untuned encoder is kept"
            )
    return results, collator.count_tokens(rows[: done * config.batch_size], config.batch_size)


def _once(file: Path, measure: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """What `measure` gives, kept in `file` for the run that goes on."""
    if not file.is_file():
        write_json(file, measure())
    first, second = json.loads(file.read_text(encoding="utf-8"))
    return first, second


def unit_scores(labels: Labels) -> np.ndarray:
    """Scores brought to [0, 1] per problem, so that one temperature fits likelihoods and pass rates alike."""
    found = labels.score.copy()
    for i in np.unique(labels.problem):
        mine = labels.problem == i
        low, high = found[mine].min(), found[mine].max()
        found[mine] = (found[mine] - low) / (high - low) if high > low else 0.5
    return found
