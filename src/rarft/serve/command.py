"""`rarft serve BUNDLE`: open the bundle, start an engine unless there is an upstream, and answer until told to stop.

    rarft serve runs/bundle                                   # its own engine
    rarft serve runs/bundle --upstream http://gpu-box:8000    # a running `vllm serve`
    RARFT_API_KEY=... rarft serve runs/bundle --host 0.0.0.0  # for others, with a key

SIGTERM: no new requests are taken, those that run are finished, then it ends with exit code 0.
"""

from __future__ import annotations

import os

from rarft.serve.config import API_KEY, ServeConfig, check
from rarft.serve.folder import open_bundle


def serve(folder: str, config: ServeConfig) -> None:
    """Serve a bundle behind the OpenAI API until a signal ends it, with its own engine or before a running vLLM.

        rarft serve runs/bundle
        rarft serve runs/bundle --upstream http://gpu-box:8000
        RARFT_API_KEY=... rarft serve runs/bundle --host 0.0.0.0

    Raises:
        InputError: bad options, or a bundle that was changed.
        StageError: the engine did not start.
    """
    key = os.environ.get(API_KEY)
    check(config, key)
    from rarft.serve.run import run  # torch, fastapi, uvicorn

    run(open_bundle(folder), config, key)
