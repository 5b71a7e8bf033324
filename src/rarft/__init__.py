"""Retrieval-Augmented Reinforcement Fine-Tuning."""

__version__ = "0.1.0"
