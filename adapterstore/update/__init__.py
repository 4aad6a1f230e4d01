"""Forget-then-learn, end to end: from fact files to tested commits. Light to import."""

from adapterstore.update.asking import ask
from adapterstore.update.result import UpdateResult
from adapterstore.update.run import run_update
from adapterstore.update.settings import read_update_settings
from adapterstore.update.table_update import update_from_table

__all__ = ["UpdateResult", "ask", "read_update_settings", "run_update", "update_from_table"]
