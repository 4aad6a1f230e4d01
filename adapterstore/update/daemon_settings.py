"""What the daemon can be told; here, so that ``adapterstore config`` knows it too."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adapterstore.settings_model import SettingsModel

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]


class DaemonSettings(SettingsModel):
    """Times of the daemon, in seconds."""

    settle_seconds: Seconds = 1.0
    """A file that did not change for so long is complete."""
    rescan_seconds: Seconds = 10.0
    """How often the folder is read even if no event came."""
    retry_seconds: Seconds = 5.0
    """First wait before trying again what was not the file's fault; it doubles up to 64 times."""
