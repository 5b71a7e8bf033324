"""The report: one self-contained HTML page, and the headline table for a terminal."""

from rarft.report.report import ReportConfig, report
from rarft.report.table import headline_table

__all__ = ["ReportConfig", "headline_table", "report"]
