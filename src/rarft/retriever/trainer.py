"""The sentence-transformers trainer, fitted to index-based batches; and held-out R@1 while it trains.

Kept apart from `train.py` because it imports torch. Multi-vector and single-vector models go the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import (
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState

from rarft.core.checkpoints import cut_log
from rarft.core.progress import Progress, log
from rarft.models.number_types import fast_bfloat16
from rarft.records.problems import Problem, Trace
from rarft.records.same_problem import near_duplicate_groups
from rarft.retriever.config import TrainRetrieverConfig
from rarft.retriever.encoder import Encoder
from rarft.retriever.labels import Labels
from rarft.retriever.maxsim import Packed, scores

CHUNK = 1024
"""Traces whose vectors held-out R@1 holds at a time."""


class HeldOutRecall(BaseEvaluator):
    """Share of held-out problems whose first-ranked trace is relevant, over a part of the corpus, in bounded memory.

    Traces of near-identical problems are left out, as the answer-leak guard does. With few held-out problems R@1 is the
    same for many checkpoints; among those the one with the larger margin is best.
    """

    def __init__(
        self,
        encoder: Encoder,
        problems: Sequence[Problem],
        traces: Sequence[Trace],
        labels: Labels,
        n_traces: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.primary_metric, self.greater_is_better = "rank", True
        ids = np.unique(labels.problem)
        labelled = np.unique(labels.trace)
        rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(traces)), labelled))
        pool = np.concatenate([labelled, rest[: max(0, n_traces - len(labelled))]])
        self.questions = [problems[i].question for i in ids]
        self.traces = [traces[i] for i in pool]
        groups = np.array(near_duplicate_groups([*self.questions, *(trace.problem for trace in self.traces)]))
        self.question_groups, self.trace_groups = groups[: len(ids)], groups[len(ids) :]
        wanted = labels.relevant
        self.relevant = np.searchsorted(ids, labels.problem[wanted]), np.searchsorted(labelled, labels.trace[wanted])

    def measure(self) -> tuple[float, float]:
        """R@1 now, and the mean margin in similarity of the best relevant trace over the best other one."""
        queries = Packed.of(self.encoder.encode_problems(self.questions))
        best, other = np.full((2, len(queries)), -1, dtype=np.float32)
        for at in range(0, len(self.traces), CHUNK):
            found = scores(queries, self.encoder.encode_traces(self.traces[at : at + CHUNK]))
            blocked = self.question_groups[:, None] == self.trace_groups[at : at + CHUNK]
            relevant = np.zeros_like(blocked)
            question, trace = self.relevant
            here = (at <= trace) & (trace < at + CHUNK)
            relevant[question[here], trace[here] - at] = True
            best = np.maximum(best, np.where(relevant & ~blocked, found, -1).max(axis=1))
            other = np.maximum(other, np.where(relevant | blocked, -1, found).max(axis=1))
        return float(np.mean(best > other)), float(np.mean(best - other))

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> Any:
        """Called by the trainer. `rank` orders checkpoints: by R@1, and by margin where that is the same."""
        training = model.training
        value, margin = self.measure()
        model.train(training)
        log(f"step {steps}: held-out R@1 {value:.3f}")
        return {"r@1": value, "rank": self.rank(value, margin)}

    def rank(self, value: float, margin: float) -> float:
        """One number for both."""
        return value + (2 + margin) / 4 * self.least_gain / 2

    @property
    def least_gain(self) -> float:
        """Half of what one more problem adds to R@1: a smaller gain in `rank` is one of margin only."""
        return 0.5 / len(self.questions)


class InOrder(DefaultBatchSampler):
    """Batches in the order of the rows, which are drawn beforehand."""

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool, **rest: Any) -> None:
        super().__init__(SequentialSampler(dataset), batch_size=batch_size, drop_last=False, **rest)


class Monitor(TrainerCallback):
    """Writes log.jsonl, shows how far training is, and ends it when held-out R@1 no longer grows.

    Args:
        path: of log.jsonl; on resume, rows after the checkpoint are dropped.
        untuned: `rank` of the untuned encoder, the first checkpoint; None where nothing is held out.
        least_gain: of `rank`, for an evaluation to count as better.
        patience: so many evaluations without a better one end training; 0: none do.
    """

    def __init__(self, path: Path, untuned: float | None, least_gain: float, patience: int) -> None:
        self.path, self.untuned, self.least_gain, self.patience = path, untuned, least_gain, patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget what will be logged again; start the clock."""
        cut_log(self.path, state.global_step)
        if state.best_metric is None:
            state.best_metric = self.untuned
        self.progress = Progress("training", state.max_steps, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Append a row."""
        with self.path.open("a") as out:
            out.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop early."""
        if self.exhausted(state):
            control.should_training_stop = True

    def exhausted(self, state: Any) -> bool:
        """Whether patience has run out. Counted from the log, which a resumed run has, as the library does not."""
        best, since = self.untuned, 0
        for value in (row["eval_rank"] for row in state.log_history if "eval_rank" in row):
            since = 0 if best is None or value - best > self.least_gain else since + 1
            best = value if best is None else max(best, value)
        return 0 < self.patience <= since

    def last_step(self, checkpoint: Path) -> int | None:
        """The step of a checkpoint at which patience ran out; None where training goes on from it."""
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        return state.global_step if self.exhausted(state) else None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One more."""
        self.progress.advance()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Done."""
        self.progress.close()


def make_arguments(
    config: TrainRetrieverConfig, folder: Path, steps: int, every: int, encoder: Encoder, *, evaluated: bool
) -> Any:
    """Training arguments; learning rate, warm-up and weight decay are the paper's unless the config says else."""
    multi = encoder.settings.type == "multi-vector"
    arguments = MultiVectorEncoderTrainingArguments if multi else SentenceTransformerTrainingArguments
    fast = fast_bfloat16(encoder.device)
    found = arguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=round(config.warmup_ratio * steps),
        weight_decay=config.weight_decay,
        lr_scheduler_type="linear",
        bf16=fast,
        batch_sampler=InOrder,
        eval_strategy="steps" if evaluated else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=evaluated,
        metric_for_best_model="eval_rank" if evaluated else None,
        greater_is_better=True,
        logging_steps=max(1, min(10, steps // 10)),
        report_to=config.report_to,
        use_cpu=encoder.device == "cpu",
        dataloader_pin_memory=False,
        dataloader_num_workers=0,
        seed=config.seed,
        disable_tqdm=True,
    )
    # one GPU per process: DataParallel would cut a batch whose problems and traces differ in number
    found._n_gpu = min(1, found.n_gpu)
    return found


def make_trainer(
    encoder: Encoder,
    arguments: Any,
    *,
    train_dataset: Any,
    loss: Any,
    evaluator: Any,
    collator: Any,
    monitor: Monitor,
) -> Any:
    """The trainer of the model's type."""
    trainer_type = MultiVectorEncoderTrainer if encoder.settings.type == "multi-vector" else SentenceTransformerTrainer
    trainer = trainer_type(
        model=encoder.model,
        args=arguments,
        train_dataset=train_dataset,
        loss=loss,
        evaluator=evaluator,
        data_collator=collator,
        callbacks=[monitor],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer
