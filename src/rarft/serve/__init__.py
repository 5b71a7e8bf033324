"""A trained system for its users: one folder (`rarft bundle`), one command (`rarft serve`). See docs/serve.md."""

from rarft.serve.bundle import BundleConfig, bundle

__all__ = ["BundleConfig", "bundle"]
