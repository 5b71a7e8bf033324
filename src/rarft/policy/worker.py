"""One process of a training that `rarft train --launch ...` started through `accelerate launch`.

    accelerate launch ... -m rarft.policy.worker SCRATCH/job.json

It trains into the folder above SCRATCH and leaves results and token counts beside the job. It dies with the process
that launched it.
"""

import json
import os
import sys
from pathlib import Path

from rarft.core.artifacts import write_json
from rarft.core.errors import InputError, StageError
from rarft.core.processes import STARTED_BY, WANTED_PROCESSES, die_with_parent
from rarft.core.stages import Work
from rarft.policy.config import TrainConfig


def main(job: str) -> None:
    """Train as the job says; the first process writes what came of it."""
    die_with_parent()
    try:
        os.kill(int(os.environ[STARTED_BY]), 0)  # it may have been killed before that
    except ProcessLookupError:
        os._exit(1)
    scratch = Path(job).resolve().parent
    work = Work(scratch.parent)
    try:
        _check_number()
        from rarft.policy.trl.training import train_policy  # torch, trl: after the checks, as it takes long

        config = TrainConfig.parse(json.loads(Path(job).read_text(encoding="utf-8")), job)
        train_policy(config, work)
    except (InputError, StageError) as error:
        bad_input = isinstance(error, InputError)
        write_json(scratch / "error.json", {"bad_input": bad_input, "message": str(error)})
        raise SystemExit(1) from None
    if os.environ.get("RANK", "0") == "0":
        spent = {"tokens_in": work.ledger.tokens_in, "tokens_out": work.ledger.tokens_out, "calls": work.ledger.calls}
        write_json(scratch / "facts.json", {"results": work.results, "ledger": spent})


def _check_number() -> None:
    """Raise InputError where the launcher has started another number of processes than it was asked for."""
    started, wanted = os.environ.get("WORLD_SIZE", "1"), os.environ.get(WANTED_PROCESSES) or None
    if wanted not in (None, started):
        raise InputError(
            f"num_processes is {wanted}, but accelerate started {started}; on CPUs it takes --multi_gpu, without --cpu"
        )


if __name__ == "__main__":
    main(sys.argv[1])
