"""Going on from a checkpoint: which one is whole, and logs that are cut back to it."""

import json
import os
from pathlib import Path


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint. The trainer's state is written last, so one without it or with half of it is not."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        whole.append((int(path.name.split("-")[1]), path))
    return max(whole)[1] if whole else None


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
