"""Evaluation: avg@k, pass@k, maj@k with intervals, context variation, ensembling and diversity."""

from rarft.evaluation.evaluate import EvaluateConfig, evaluate
from rarft.evaluation.rollouts import Rollout, problem_values, read_rollouts, scores

__all__ = ["EvaluateConfig", "Rollout", "evaluate", "problem_values", "read_rollouts", "scores"]
