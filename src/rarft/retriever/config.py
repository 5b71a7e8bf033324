"""What training a retriever can be told. Kept apart from `train.py`, so that `trainer.py` may know it too."""

from typing import Annotated, Literal

from pydantic import Field

from rarft.core.config import Config, Count, Input, NotInResult, Seed, Share, Size, Weight
from rarft.retriever.encoder import Kind, Part


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
    query_tokens: Count = 256
    """Problems are cut at this many tokens."""
    trace_tokens: Count = 256
    """Traces are cut at this many tokens."""
    dim: Size = 0
    """Width of token vectors; 0: the base model's own. Otherwise a projection to this width is added and trained."""
    train: Literal["all", "linear"] = "all"
    """all: every weight. linear: only a linear map behind the encoder, which stays as it is; for few labels, with a
    learning rate of about 1e-3."""
    dropout: bool = True
    """Whether the base model's own dropout is on; BERT-like encoders have 0.1, ModernBERT's none."""
    loss: Literal["auto", "infonce", "kl"] = "auto"
    """infonce: relevant against not. kl: match the scores' distribution. auto: kl where scores are graded."""
    temperature: float = Field(0.05, ge=1e-4, le=1e4)
    """tau: similarities, which lie in [-1, 1], are divided by it."""
    score_temperature: float = Field(0.2, ge=1e-4, le=1e4)
    """kl only: the labels' scores, brought to [0, 1] per problem, are divided by it."""
    mask_unjudged: bool = True
    """infonce only: an unjudged trace of the problem's own kind is no negative (it may be relevant)."""
    positives: Count = 1
    """Relevant traces drawn per problem and epoch."""
    negatives: Size = 2
    """Labelled non-relevant traces drawn per problem and epoch (kl: these many more, of any score)."""
    epochs: Count = 3
    """Passes over the training problems."""
    max_steps: Size = 0
    """Stop after this many optimiser steps; 0: epochs decide."""
    batch_size: Count = 128
    """Problems per step; all traces of the batch serve all its problems."""
    mini_batch_size: Size = 64
    """Texts encoded at a time (gradient caching): bounds memory at the price of a second forward; 0: all at once."""
    learning_rate: Weight = 3e-5
    """Peak, after the warm-up; then linear to 0."""
    warmup_ratio: Share = 0.1
    """Share of the steps that warm up."""
    weight_decay: Weight = 0.01
    """AdamW's."""
    held_out: Share = 0.1
    """Share of the labelled problems held out for R@1, early stopping and the best checkpoint; 0: none."""
    max_held_out: Size = 10_000
    """At most this many problems are held out."""
    held_out_traces: Size = 2000
    """Traces that held-out problems are ranked over: their labelled ones, then random ones up to this many."""
    evaluations_per_epoch: Count = 1
    """How often held-out R@1 is measured and a checkpoint saved."""
    patience: Size = 2
    """Stop after this many evaluations without a better R@1; 0: never."""
    report_to: Annotated[Literal["none", "trackio", "wandb", "tensorboard"], NotInResult] = "none"
    """Where training curves go."""
    seed: Seed = 0
    """Seed of the split and the draws."""
