"""Stage 3: train the policy by RL or SFT, with or without retrieved demonstrations. Start at `train.py`."""

from rarft.policy.config import TrainConfig
from rarft.policy.train import train

__all__ = ["TrainConfig", "train"]
