"""When the sum of low-rank terms is folded by itself."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from adapterstore.settings_model import SettingsModel

Rank = Annotated[int, Field(ge=1)]


class CompactSettings(SettingsModel):
    """The rank that a server takes, and what is kept when an update would pass it."""

    rank_limit: Rank | None = None
    """The most that the ranks of all low-rank terms may sum up to; None: no limit."""
    rank: Rank | None = None
    """What to fold to; None: to the numerical rank, or to the limit where that is more. A lower one
    makes room for more updates before the next time, and costs more."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rank is not None and self.rank_limit is not None and self.rank > self.rank_limit:
            raise ValueError(f"compact.rank {self.rank} is above rank_limit {self.rank_limit}")
        return self
