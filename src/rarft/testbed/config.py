"""The testbed's config; a module of its own, because every domain reads it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rarft.core.config import Config, Count, Seed, Share, Size


class PolicyInitConfig(Config):
    """Shape of the initial policy."""

    hidden: Count = 192
    """Width of the residual stream."""
    layers: Count = 4
    """Transformer blocks."""
    heads: Count = 3
    """Attention heads."""
    context: Count = 512
    """Longest sequence, in tokens; a token is a word, a number or a mark."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden is {self.hidden}, no multiple of twice the {self.heads} heads; change one")
        return self


class TestbedConfig(Config):
    """Generate the testbed."""

    __test__ = False  # not a test class, whatever pytest makes of the name

    domain: Literal["word-problems", "house-rules", "library"] = "word-problems"
    """word-problems: for a policy with random weights; house-rules, library: for a pretrained one, and of the other
    options they have n-train, n-eval, n-corpus and seed alone."""
    n_structures: Count = 16
    """Structures: sequences of operations, drawn from the 4^depth there are."""
    n_surfaces: Count = 24
    """Surfaces that problems are told in: a quarter for the warm-up, a third for evaluation, the others for RL. The
    corpus adds one of its own for each theme of RL and evaluation."""
    depth: Annotated[int, Field(ge=1, le=4)] = 2
    """Operations per problem, 1 to 4."""
    distractors: Size = 0
    """Sentences per problem with a number that plays no part."""
    split: Literal["surface", "structure", "both"] = "surface"
    """What evaluation has that warm-up and RL have not: new surfaces, new structures (a quarter of all), or both."""
    difficulty: Literal["easy", "medium", "hard"] = "easy"
    """Size of the numbers: start up to 40, 120 or 250; values on the way up to 200, 600 or 2500."""
    n_warmup: Size = 2400
    """Warm-up word problems."""
    n_drills: Size = 6400
    """Warm-up exercises of plain sums beside them, without words: what the policy learns to calculate from."""
    n_garbled: Size = 4000
    """Warm-up stories in made-up words, each after a worked example."""
    garbled_same: Share = 0.6
    """Share of those examples that have the story's structure: how far the policy trusts examples before RL."""
    drill_sums: Count = 6
    """Sums per exercise."""
    n_train: Count = 640
    """RL problems."""
    n_eval: Count = 200
    """Evaluation problems."""
    n_corpus: Count = 432
    """Corpus traces."""
    warmup_unrelated: Share = 0.25
    """Share of warm-up problems shown with a demonstration of another structure."""
    warmup_same: Share = 0.15
    """Share of warm-up problems shown with a demonstration of the same structure; the rest have none."""
    policy: PolicyInitConfig = PolicyInitConfig()
    """The initial policy."""
    seed: Seed = 0
    """Seed of every random choice."""
