"""What `rarft serve` can be told, and what can be checked of it before anything is loaded."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from typing import Any, Literal

from pydantic import Field

from rarft.core.config import Config
from rarft.core.errors import InputError

API_KEY, UPSTREAM_KEY = "RARFT_API_KEY", "VLLM_API_KEY"
PACKAGES = ("fastapi", "uvicorn", "httpx", "prometheus_client")
MOST_CONNECTIONS = 2048


class ServeConfig(Config):
    """How to serve a bundle."""

    upstream: str | None = None
    """URL of a running vLLM that serves the policy; default: an engine is started. Its key is read from the variable
    VLLM_API_KEY."""
    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """The engine to start where there is no upstream. auto: vllm where it is installed and a GPU is there."""
    vllm: dict[str, Any] = {}
    """Arguments of `vllm serve`, such as max-model-len."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs a key, in the variable RARFT_API_KEY."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0: any that is free, which is then told."""
    timeout: float = Field(600.0, gt=0, le=86400)
    """Seconds without a byte after which the upstream's answer counts as lost (504)."""
    drain: float = Field(60.0, ge=0, le=86400)
    """Seconds that running requests get to end after SIGTERM."""


def check(config: ServeConfig, key: str | None) -> None:
    """Check what can be checked before anything is loaded.

    Raises:
        InputError: a package is missing, an address that needs a key, or an upstream that is no URL.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"rarft serve: {', '.join(missing)} not installed; pip install 'rarft[serve]'")
    if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
        raise InputError(f"{API_KEY}: has to be printable ASCII, and not empty")
    if key is None and not _is_local(config.host):
        raise InputError(f"--host {config.host}: others could reach it; set a key in {API_KEY} first")
    if config.upstream is not None and not re.match(r"https?://[^/\s]+", config.upstream):
        raise InputError(f"--upstream {config.upstream}: no URL; give it as http://HOST:PORT")
    if config.upstream is not None and (config.vllm or config.engine != "auto"):
        raise InputError("--engine and --vllm are for an engine of our own; leave them out with --upstream")


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
