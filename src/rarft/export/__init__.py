"""Export: the data and the reward of a run, in the formats of other trainers. See docs/export.md."""

from rarft.export.export import ExportConfig, write_export

__all__ = ["ExportConfig", "write_export"]
