"""What a bundle's folder is, and reading one: nothing is used before its digest was checked.

    bundle.json      what it is made of: prompt, top-k, minimum score, licences, versions, and the digest of every file
    policy/          tokenizer and configuration, and the weights unless the bundle only refers to them
    retriever/       the encoder, absent where the index needs none (bm25, random)
    index/           the index of `rarft index`, whose retriever is the one beside it
    untuned/         optionally a second `retriever/` and `index/`, to compare with
    traces.jsonl     the worked examples that the index holds
    scores.json      what `rarft evaluate` measured, where it was given
    README.md        the model card

No path in it leads out of the folder, so that it works wherever it is moved. Examples that are added while serving
stand in `live.jsonl` beside these, which is no part of the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import rarft
from rarft.core.artifacts import MANIFEST, digest_input, read_json
from rarft.core.config import Config
from rarft.core.errors import InputError
from rarft.models.prompts import PromptConfig

BUNDLE, CARD, TRACES, SCORES, LIVE = "bundle.json", "README.md", "traces.jsonl", "scores.json", "live.jsonl"
POLICY, RETRIEVER, INDEX, UNTUNED = "policy", "retriever", "index", "untuned"
FORMAT = 1


class Description(Config):
    """bundle.json."""

    format: int
    """Version of this layout."""
    rarft: str
    """Version of the package that made it."""
    name: str
    """What the policy is called behind the API; its twin without retrieval is called NAME-bare."""
    reference: str | None = None
    """The policy's own place, a folder or a Hugging Face id, where its weights are not in the bundle."""
    reference_digest: str = ""
    prompt: PromptConfig = PromptConfig()
    top_k: int
    max_new_tokens: int
    """Longest completion where a request does not say."""
    min_score: float | None = None
    """Traces below it are not shown to the policy."""
    min_score_from: dict[str, Any] = {}
    """How the minimum was found: given, or chosen on so many labels with such a balanced accuracy."""
    untuned: str = ""
    """Name of the untuned encoder of `untuned/`; empty where there is none."""
    licences: dict[str, str] = {}
    versions: dict[str, str] = {}
    files: dict[str, str]
    """Relative name -> sha256 of every file that serving reads."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been checked."""

    folder: Path
    about: Description

    @property
    def policy(self) -> str:
        """Folder with the policy's tokenizer and configuration."""
        return str(self.folder / POLICY)

    def weights(self) -> str:
        """Where the policy's weights are: in the bundle, or where it refers to.

        Raises:
            InputError: what it refers to is not on this machine, or is another model than it was.
        """
        name = self.about.reference
        if name is None:
            return self.policy
        if self.about.reference_digest.startswith("name:"):
            from rarft.retriever.encoder import resolve_model  # torch

            return str(resolve_model(name, fetch=False))
        if digest_input(name, "policy") != self.about.reference_digest:
            raise InputError(f"{name}: is not the policy that {self.folder / BUNDLE} refers to; bundle it again")
        return name


def open_bundle(folder: str | Path) -> Bundle:
    """Read a bundle and check the digest of every file.

    Raises:
        InputError: no bundle there; or names the first file that was changed, is missing, or was added.
    """
    folder = Path(folder)
    path = folder / BUNDLE
    if not path.is_file():
        raise InputError(f"{folder}: no {BUNDLE}; name a folder that `rarft bundle` made")
    about = read_json(Description, path, "make the bundle again")
    if about.format != FORMAT:
        raise InputError(f"{path}: has format {about.format}, and rarft {rarft.__version__} reads {FORMAT}")
    for name, digest in about.files.items():
        file = folder / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path}: names a file outside of the bundle ({name!r}); make the bundle again")
        if not file.is_file():
            raise InputError(f"{file}: is missing from this bundle; fetch or make the bundle again")
        if digest_input(str(file)) != digest:
            raise InputError(f"{file}: changed since the bundle was made; fetch or make the bundle again")
    added = sorted(set(files_of(folder)) - set(about.files))
    if added:
        raise InputError(f"{folder / added[0]}: was added to this bundle after it was made; take it out")
    return Bundle(folder, about)


def files_of(folder: Path) -> list[str]:
    """Names of the files that serving reads: all below the subfolders, and those that it knows beside them."""
    found = [path for part in (POLICY, RETRIEVER, INDEX, UNTUNED) for path in (folder / part).rglob("*")]
    found += [folder / TRACES, folder / SCORES]
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


NOT_PUBLISHED = (MANIFEST, LIVE, f"{LIVE}.*", ".*")
"""Left behind when a bundle is pushed: paths of the machine it was made on, and what was added while serving."""
