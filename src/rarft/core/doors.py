"""Doors for strangers: a class of the user's own, named as `module:Class`, and packages that are not ours to bring."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from rarft.core.errors import InputError


def load_class(target: str, what: str) -> Any:
    """The class that `module:Class` names; the module is found as Python finds any.

    Args:
        what: what it is to serve as, for the error.

    Raises:
        InputError: no such module or class, or importing it failed.
    """
    module, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except AttributeError:
        raise InputError(f"{what} {target}: module {module} has no {name}") from None
    except Exception as error:
        raise InputError(f"{what} {target}: cannot be imported ({type(error).__name__}: {error})") from None
    if not isinstance(found, type):
        raise InputError(f"{what} {target}: not a class")
    return found


def check_installed(package: str, option: str) -> None:
    """Check that an optional package is there.

    Raises:
        InputError: it is not; the line names `option`.
    """
    if find_spec(package) is None:
        raise InputError(f"{option} is {package}, which is not installed: pip install {package}")


def load_only_class(module: str, base: type) -> Any:
    """The one class of `module` that is derived from `base` and made there."""
    values = vars(importlib.import_module(module)).values()
    (found,) = (v for v in values if isinstance(v, type) and issubclass(v, base) and v.__module__ == module)
    return found
