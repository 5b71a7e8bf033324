"""What a labeler is: pairs in, a label for each out.

A labeler is one class in one file: `rarft label --labeler pass-rate` takes the one in `labelers/pass_rate.py`, and
`--labeler module:Class` one of your own. Its options are a Config, given as `--pass-rate.samples 8` where `LabelConfig`
has a section of that name, else as `--options.samples 8`:

    class Length(Labeler):
        class Options(Config):
            most: int = 500

        def label(self, pairs, total, work, scratch, write):
            for problem, trace in pairs:
                score = -len(trace.solution)
                write(Label(problem.id, trace.id, -score <= self.options.most, score, "length", ""))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

from rarft.core.config import Config, nearest
from rarft.core.doors import load_class, load_only_class
from rarft.core.errors import InputError
from rarft.core.estimate import Count
from rarft.core.stages import Work
from rarft.models.engines import open_engine
from rarft.models.engines.base import EngineOptions, Metered
from rarft.models.prompts import PromptConfig
from rarft.records.labels import Label
from rarft.records.problems import Problem, Trace
from rarft.relevance.candidates import Pair

Write = Callable[[Label], None]


@dataclass(frozen=True)
class Setting:
    """What the labelers of one run share."""

    problems: Sequence[Problem] = ()
    problems_path: str = ""
    """Where they were read from, for errors."""
    traces: Collection[Trace] = ()
    """The corpus."""
    model: str | None = None
    """The policy."""
    engine: str = "auto"
    """What runs it."""
    ray: str | None = None
    """Where, on a Ray cluster."""
    vllm: dict[str, Any] = field(default_factory=dict)
    """Arguments of vLLM's engine."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    gold_solutions: str | None = None
    """Traces of the problems themselves."""
    calibrate_on: str | None = None
    """Labels of another labeler to choose a threshold on."""
    rollouts: str | None = None
    """What a training run or an evaluation has sampled."""
    structure_column: str = "structure"
    seed: int = 0

    def open_engine(self, options: EngineOptions) -> Metered:
        """The policy, loaded. Raises InputError where it can't be."""
        if self.model is None:
            raise InputError("this labeler needs the policy; give it with --model")
        return open_engine(self.engine, self.model, replace(options, vllm=self.vllm), self.ray)


class Labeler:
    """Base of all labelers. Override `label`; `check` and `estimate` where there is something to say.

    Attributes:
        options: as `Options` has them.
        brings_pairs: whether `pairs` says what is labelled, and not the candidates.
    """

    Options: ClassVar[type[Config]] = Config
    brings_pairs: ClassVar[bool] = False

    def __init__(self, options: Any, setting: Setting) -> None:
        self.options, self.setting = options, setting

    def check(self) -> None:
        """Check, before any work, what can be checked. Raises InputError."""

    def pairs(self, problems: Mapping[str, Problem], traces: Mapping[str, Trace]) -> Sequence[Pair]:
        """The pairs to label, those of one problem after each other; for a labeler that `brings_pairs`."""
        raise NotImplementedError

    def label(self, pairs: Iterable[Pair], total: int, work: Work, scratch: Path, write: Write) -> None:
        """Label pairs.

        Args:
            pairs: those of one problem follow each other; iterating again gives the same ones.
            total: their number, at most.
            work: its ledger and results are filled in.
            scratch: where to keep what a killed run has done.
            write: takes each label, in the pairs' order. A pair without one is left out.
        """
        raise NotImplementedError

    def estimate(self, pairs: Count, problems: Count, characters: int) -> tuple[dict[str, Count], list[str]]:
        """What labelling would take: counts such as calls, rollouts and tokens, and lines about money.

        Args:
            characters: mean length of a pair's question, problem and solution together.
        """
        return {}, []


def find_labeler(name: str) -> type[Labeler]:
    """The labeler that `--labeler` names.

    Raises:
        InputError: there is none, with the nearest right name.
    """
    if ":" in name:
        found = load_class(name, "labeler")
    else:
        module = f"{__package__}.{name.replace('-', '_')}"
        if name not in names() or find_spec(module) is None:
            raise InputError(f"no labeler `{name}`; {nearest(name, names())} (or module:Class)")
        found = load_only_class(module, Labeler)
    if not issubclass(found, Labeler):
        raise InputError(f"labeler {name}: not derived from {Labeler.__module__}.Labeler")
    return found


def names() -> list[str]:
    """The labelers there are: the files in this folder."""
    files = iter_modules([str(Path(__file__).parent)])
    return sorted(file.name.replace("_", "-") for file in files if file.name != "base")
