"""The environment of this export for SkyRL, and the entry point that registers it: `python reward.py OPTION=VALUE...`.

Answers are checked in processes of their own, each under a time limit; no signals, so it runs in a thread or an actor.
The share of each reason goes to SkyRL's log as `environment/reason_timeout`, `environment/reason_error`, ...
"""

import json
import sys
from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput
from skyrl_gym.envs.registration import register

from rarft.rewards import REASONS, verify


class RarftEnv(BaseTextEnv):
    """One turn: the completion is checked against the row's gold answer."""

    def __init__(self, env_config: Any = None, extras: dict[str, Any] | None = None) -> None:
        super().__init__()
        row = extras or {}
        self.gold, self.info = row["reward_spec"]["ground_truth"], row["extra_info"]
        self.reason = ""

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """Score the completion; the episode is over."""
        columns = json.loads(self.info["columns"])
        [verdict] = verify([self.gold], [action], name=self.info["reward"], extras=[columns])
        self.reason = verdict.reason
        return BaseTextEnvStepOutput(
            observations=[], reward=verdict.reward, done=True, metadata={"reason": verdict.reason}
        )

    def get_metrics(self) -> dict[str, float]:
        """1.0 under the reason that applies; SkyRL logs the mean."""
        return {f"reason_{reason}": float(self.reason == reason) for reason in REASONS}


def main() -> None:
    """Train, as SkyRL's own entry point does, with the environment known to the training process."""
    import ray
    from skyrl.train.config import SkyRLTrainConfig
    from skyrl.train.entrypoints.main_base import BasePPOExp
    from skyrl.train.utils import validate_cfg
    from skyrl.train.utils.utils import initialize_ray

    @ray.remote(num_cpus=1)
    def train(config: Any) -> None:
        register(id="rarft", entry_point=RarftEnv)
        BasePPOExp(config).run()

    config = SkyRLTrainConfig.from_cli_overrides(sys.argv[1:])
    validate_cfg(config)
    initialize_ray(config)
    ray.get(train.remote(config))


if __name__ == "__main__":
    main()
