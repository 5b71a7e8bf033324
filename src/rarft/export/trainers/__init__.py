"""For each trainer the reward and the command that an export gets a copy of: `NAME_reward.py` and `NAME.sh`.

The rewards import nothing of rarft but `rarft.rewards`, which needs math-verify and no other package.
"""
