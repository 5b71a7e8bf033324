"""Evaluation: avg@k, pass@k, maj@k with intervals, context variation, ensembling and diversity."""

from rarft.evaluation.evaluate import EvaluateConfig, evaluate
from rarft.evaluation.scores import problem_values, scores
from rarft.records.rollouts import Rollout, read_rollouts

__all__ = ["EvaluateConfig", "Rollout", "evaluate", "problem_values", "read_rollouts", "scores"]
