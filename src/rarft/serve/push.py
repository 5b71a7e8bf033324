"""`rarft bundle ... --push ORG/NAME`: upload a finished bundle to the Hugging Face hub.

The key is the hub's own (`HF_TOKEN`, or `hf auth login`). What was added while serving and the manifest, which names
paths of this machine, stay here.
"""

from __future__ import annotations

from pathlib import Path

from rarft.core.errors import InputError, StageError, one_line
from rarft.core.progress import log
from rarft.serve.folder import NOT_PUBLISHED, open_bundle


def push(folder: str | Path, repository: str) -> str:
    """Upload the bundle in `folder`; return its address.

    Raises:
        InputError: no bundle, a changed one, or no name of the form ORG/NAME.
        StageError: the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id

    bundle = open_bundle(folder)
    try:
        validate_repo_id(repository)
    except ValueError as error:
        raise InputError(f"--push {repository}: {one_line(error)}") from None
    if "/" not in repository:
        raise InputError(f"--push {repository}: give it as ORG/NAME")
    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=bundle.folder,
            ignore_patterns=list(NOT_PUBLISHED),
            commit_message=f"{bundle.about.name}, made by rarft {bundle.about.rarft}",
        )
    except (OSError, ValueError, RuntimeError) as error:  # the hub's errors are OSErrors or ValueErrors
        raise StageError(f"--push {repository}: {one_line(error)}; the bundle is whole in {folder}") from None
    log(f"pushed to {done.repo_url if hasattr(done, 'repo_url') else repository}")
    return str(done)
