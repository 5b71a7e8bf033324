"""The report: one self-contained HTML page, and the headline table for a terminal."""

from rarft.report.report import ReportConfig, write_report

__all__ = ["ReportConfig", "write_report"]
