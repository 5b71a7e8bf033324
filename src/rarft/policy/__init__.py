"""Stage 3: train the policy by RL or SFT, with or without retrieved demonstrations. Start at `train.py`."""
