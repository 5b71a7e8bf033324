import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "benchmarks")]  # odd_rewards, verify_corpus


@pytest.fixture(scope="session", autouse=True)
def _close_workers():
    yield
    from rarft.rewards.pool import close_pool

    close_pool()
