"""One HTML file about a history, for people who would rather look than read."""

from adapterstore.report.content import collect_report
from adapterstore.report.page import render_page

__all__ = ["collect_report", "render_page"]
