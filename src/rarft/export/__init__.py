"""Export: the data and the reward of a run, in the formats of other trainers. See docs/export.md."""

from rarft.export.export import ExportConfig, export

__all__ = ["ExportConfig", "export"]
