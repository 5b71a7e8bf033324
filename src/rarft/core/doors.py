"""Doors for strangers: a class of the user's own, named as `module:Class`."""

from __future__ import annotations

import importlib
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


def load_only_class(module: str, base: type) -> Any:
    """The one class of `module` that is derived from `base` and made there."""
    values = vars(importlib.import_module(module)).values()
    (found,) = (v for v in values if isinstance(v, type) and issubclass(v, base) and v.__module__ == module)
    return found
