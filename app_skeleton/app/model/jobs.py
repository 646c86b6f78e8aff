"""Jobs: what the API is asked for and a worker does. The row is the whole truth about a job."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Moment, now

# In this order.
STATES = ("waiting", "running", "done", "failed")
ENDS = STATES[-2:]


class Job(Base):
    """Something to do for a user."""

    __tablename__ = "job"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    progress: Mapped[int] = mapped_column(default=0)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(String(1000))
    created: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    finished: Mapped[datetime | None] = mapped_column(Moment)

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDS
