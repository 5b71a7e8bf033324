"""Retrieval-Augmented Reinforcement Fine-Tuning.

Every stage is a function that takes its config and an output folder, and returns the finished folder:

    from rarft import LabelConfig, label
    label(LabelConfig(problems="p.jsonl", traces="t.jsonl", labeler="oracle"), "runs/labels")

Names are imported on first use, so that `import rarft` is quick.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from rarft.core.errors import InputError as InputError
    from rarft.core.errors import StageError as StageError
    from rarft.evaluation import EvaluateConfig as EvaluateConfig
    from rarft.evaluation.evaluate import evaluate as evaluate
    from rarft.export import ExportConfig as ExportConfig
    from rarft.export import write_export as write_export
    from rarft.policy import TrainConfig as TrainConfig
    from rarft.policy.train import train as train
    from rarft.preflight import PreflightConfig as PreflightConfig
    from rarft.preflight import run_preflight as run_preflight
    from rarft.preparation import PrepareConfig as PrepareConfig
    from rarft.preparation.prepare import prepare as prepare
    from rarft.recipe import read_recipe as read_recipe
    from rarft.recipe import run_recipe as run_recipe
    from rarft.relevance import AuditConfig as AuditConfig
    from rarft.relevance import LabelConfig as LabelConfig
    from rarft.relevance.audit import audit as audit
    from rarft.relevance.label import label as label
    from rarft.report import ReportConfig as ReportConfig
    from rarft.report import write_report as write_report
    from rarft.retriever import EvaluateRetrieverConfig as EvaluateRetrieverConfig
    from rarft.retriever import IndexConfig as IndexConfig
    from rarft.retriever import RetrieveConfig as RetrieveConfig
    from rarft.retriever import TrainRetrieverConfig as TrainRetrieverConfig
    from rarft.retriever import evaluate_retriever as evaluate_retriever
    from rarft.retriever import retrieve as retrieve
    from rarft.retriever import train_retriever as train_retriever
    from rarft.retriever.index import index as index
    from rarft.rewards import verify as verify
    from rarft.serve import BundleConfig as BundleConfig
    from rarft.serve.bundle import bundle as bundle
    from rarft.testbed import ReasoningGymConfig as ReasoningGymConfig
    from rarft.testbed import TestbedConfig as TestbedConfig
    from rarft.testbed import make_reasoning_gym as make_reasoning_gym
    from rarft.testbed import make_testbed as make_testbed

OTHERS = {
    "InputError": "core.errors",
    "StageError": "core.errors",
    "read_recipe": "recipe",
    "run_recipe": "recipe",
    "verify": "rewards",
}
"""Public names that are no stage's: name -> module."""


def _stages() -> dict[str, Any]:
    """The names of every stage: its function and its config."""
    stages = importlib.import_module("rarft.core.stages").find_stages().values()
    return {stage.__name__: stage for stage in stages} | {s.config_type.__name__: s.config_type for s in stages}


def __getattr__(name: str) -> Any:
    if name in OTHERS:
        return getattr(importlib.import_module(f"rarft.{OTHERS[name]}"), name)
    if name == "__all__":
        return ["__version__", *OTHERS, *_stages()]
    missing = AttributeError(f"module 'rarft' has no attribute {name!r}")
    if name.startswith("_") or importlib.util.find_spec(f"rarft.{name}"):  # a module of ours, about to be imported
        raise missing
    found = _stages()
    if name not in found:
        raise missing
    return found[name]


def __dir__() -> list[str]:
    return ["__version__", *OTHERS, *_stages()]
