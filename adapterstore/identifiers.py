"""The kinds of identifier: each its own type, so that one is never passed for another."""

from __future__ import annotations

from typing import NewType

ObjectId = NewType("ObjectId", str)
"""SHA-256 (64 hex digits) of a stored safetensors file: its name under ``lfs/objects``."""

CommitId = NewType("CommitId", str)
"""Git commit id (40 hex digits)."""

DeltaId = NewType("DeltaId", str)
"""Git tree id (40 hex digits) of a delta's folder."""

UpdateId = NewType("UpdateId", str)
"""Name of an update, unique in a store: ``update/<id>`` is a revision."""
