"""What it costs to give freed memory back to the kernel: scoring with a policy, glibc as it is and told to keep it.

    python benchmarks/allocator.py MODEL [--rounds 3]

Each round runs both in processes of their own, in turn: 45 prompts of 95 tokens with 3 completions of 90, the last 40
of which are scored, as likelihood labels do. Prints tokens per second of processor time, how much of that was the
kernel's, and the peak of memory. rarft does not set these variables: with them an evaluation, whose caches grow at each
step, took up to 17 GiB. Left out: GPUs, where activations are not malloc's.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys

KEEP = {
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
}


def main() -> None:
    """Read the command line; run the rounds or, as a child, one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.model)))
        return
    for _ in range(options.rounds):
        for how, told in (("given back", {}), ("kept", KEEP)):
            command = [sys.executable, __file__, options.model, "--child"]
            done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{how:>10}: {found['rate']:.0f} tokens per processor second, kernel {found['kernel']:.0%}, "
                f"{found['peak']:.1f} GiB"
            )


def measure(model: str) -> dict[str, float]:
    """Tokens per second of processor time, the kernel's share of it, and GiB at most."""
    from rarft.models.engines import open_engine
    from rarft.models.engines.base import EngineOptions

    engine = open_engine("transformers", model, EngineOptions(dtype="bfloat16"))
    rng = random.Random(0)

    def text(length: int) -> list[int]:
        return [rng.randrange(1000, 40000) for _ in range(length)]

    prompts = [text(95) for _ in range(45)]
    completions = [[text(90) for _ in range(3)] for _ in prompts]
    wanted = [[40] * 3 for _ in prompts]
    engine.score(prompts[:2], completions[:2], wanted[:2])
    before = resource.getrusage(resource.RUSAGE_SELF)
    engine.score(prompts, completions, wanted)
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, kernel = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    tokens = sum(map(len, prompts)) + sum(len(c) for of in completions for c in of)
    return {"rate": tokens / (user + kernel), "kernel": kernel / (user + kernel), "peak": after.ru_maxrss / 2**20}


if __name__ == "__main__":
    main()
