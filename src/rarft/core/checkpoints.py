"""Going on from a checkpoint: logs are cut back to it."""

import json
import os
from pathlib import Path


def cut_log(path: Path, step: int) -> None:
    """Cut a log of JSON lines off at its first row after `step`, so that a resumed run does not write a step twice.

    A line without its end, at which the run was killed, is cut off too. At step 0 nothing is kept.
    """
    if not path.exists():
        return
    kept = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                if step == 0 or not line.endswith(b"\n") or json.loads(line)["step"] > step:
                    break
            except ValueError:
                break
            kept += len(line)
    os.truncate(path, kept)
