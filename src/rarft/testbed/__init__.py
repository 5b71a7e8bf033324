"""Generated problems: testbeds whose gold analogies are known, and reasoning-gym's tasks."""

from rarft.testbed.config import TestbedConfig
from rarft.testbed.reasoning_gym import ReasoningGymConfig, make_reasoning_gym
from rarft.testbed.testbed import make_testbed

__all__ = ["ReasoningGymConfig", "TestbedConfig", "make_reasoning_gym", "make_testbed"]
