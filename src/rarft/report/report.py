"""`rarft report RUN...`: one self-contained report.html from one or several folders made by `rarft run`.

The page needs no network: style, script and plots are inside it. It follows the reader's light or dark setting, reads
on a phone and works from the keyboard. Several runs are shown on the problems that all of them answered.

Left out: anything that is not in the runs' folders; the page computes scores from the rollouts and samples nothing.

    rarft report runs/quickstart --output runs/report
"""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, computed_field, field_validator

from rarft.core.artifacts import MANIFEST, digest_input, read_manifest
from rarft.core.config import Config, Seed
from rarft.core.errors import InputError
from rarft.core.estimate import Estimate, Known
from rarft.core.progress import log
from rarft.core.stages import Work, blame_damaged, stage


class ReportConfig(Config):
    """What to show."""

    positional: ClassVar[str | None] = "runs"

    runs: list[str] = Field(min_length=1)
    """Folders made by `rarft run`."""
    baseline: str = ""
    """Name of the arm that gains are counted from; the first arm when not given."""
    max_problems: int = Field(default=100, ge=1)
    """How many problems can be browsed: of each benchmark in turn, those on which the arms differ most."""
    max_rollouts: int = Field(default=2, ge=1)
    """Completions shown per problem and arm, right and wrong ones where there are both."""
    seed: Seed = 0
    """Seed of the bootstrap."""

    @field_validator("runs", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @computed_field  # type: ignore[prop-decorator]
    @property
    def stages(self) -> dict[str, str]:
        """Digest of every finished stage of the runs, other reports left out: when one changes, so does the page."""
        found = {}
        for run in self.runs:
            for path in sorted(Path(run).glob(f"*/{MANIFEST}")):
                if read_manifest(path.parent)["stage"] != "report":
                    found[f"{run}/{path.parent.name}"] = digest_input(str(path.parent))
        return found


def estimate(config: ReportConfig, known: Known) -> Estimate:
    """Runs that the page is made from."""
    return Estimate({"runs": len(config.runs)})


@stage("report", "one HTML page from one or several runs", place=80, estimate=estimate, version=2)
def write_report(config: ReportConfig, work: Work) -> None:
    """Write report.html. Raises InputError where a folder is no run, or the runs share no problem."""
    from rarft.report.page import render  # numpy, pyarrow, matplotlib: keeps --help quick

    try:
        page = render(config.runs, config.baseline, config.max_problems, config.max_rollouts, config.seed)
    except InputError:
        raise
    except Exception as error:
        blame_damaged([("runs", folder) for folder in config.stages], error)
        raise
    (work.path / "report.html").write_text(page, encoding="utf-8")
    work.results["bytes"] = len(page.encode())
    log(f"report.html: {len(page.encode()) / 1e6:.1f} MB")
