"""One process of a training that `rarft train --launch ...` started through `accelerate launch`.

    accelerate launch ... -m rarft.policy.worker SCRATCH/job.json

It trains into the folder above SCRATCH and leaves results and token counts beside the job.
"""

import json
import os
import sys
from pathlib import Path

from rarft.core.artifacts import Work, write_json
from rarft.core.errors import InputError
from rarft.policy.run import train_policy
from rarft.policy.train import TrainConfig


def main(job: str) -> None:
    """Train as the job says; the first process writes what came of it."""
    scratch = Path(job).resolve().parent
    work = Work(scratch.parent)
    first = os.environ.get("RANK", "0") == "0"
    (scratch / "error.txt").unlink(missing_ok=True)
    try:
        config = TrainConfig.parse(json.loads(Path(job).read_text(encoding="utf-8")), job)
        train_policy(config, work)
    except InputError as error:
        (scratch / "error.txt").write_text(str(error), encoding="utf-8")
        raise
    if first:
        spent = {"tokens_in": work.ledger.tokens_in, "tokens_out": work.ledger.tokens_out, "calls": work.ledger.calls}
        write_json(scratch / "facts.json", {"results": work.results, "ledger": spent})


if __name__ == "__main__":
    main(sys.argv[1])
