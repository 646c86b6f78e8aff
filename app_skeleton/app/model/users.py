"""Users, their groups, and what their log-ins leave behind."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Column, Delete, ForeignKey, Index, String, Table, delete, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .base import Base, Moment, now

ADMINS = "admins"

membership = Table(
    "membership",
    Base.metadata,
    Column("user_id", ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ForeignKey("group.id", ondelete="CASCADE"), primary_key=True),
)


class Group(Base):
    """A name for what its members may do."""

    __tablename__ = "group"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)


class User(Base):
    """Somebody who can log in."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(32), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    memberships: Mapped[list[Group]] = relationship(secondary=membership, lazy="selectin")

    @property
    def groups(self) -> list[str]:
        """The names of the user's groups, sorted."""
        return sorted(group.name for group in self.memberships)


class Login(Base):
    """One log-in. Its tokens are good as long as this row is here."""

    __tablename__ = "login"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    expires: Mapped[datetime] = mapped_column(Moment, index=True)


class Attempt(Base):
    """How often something was tried that has a limit, until when it counts."""

    __tablename__ = "attempt"

    # A hash of what is tried, by whom: of one length, and whatever was typed is not stored.
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    ends: Mapped[datetime] = mapped_column(Moment, index=True)


def outdated() -> Delete:
    """Return what forgets attempts that no longer count."""
    old = select(Attempt.key).where(Attempt.ends < now())
    # Whoever is about to count one of them anew is not waited for.
    forget = delete(Attempt).where(Attempt.key.in_(old.with_for_update(skip_locked=True)))
    # No session that runs it holds any of them.
    return forget.execution_options(synchronize_session=False)


class FailedLogin(Base):
    """What the release before counts in, which serves until this one does: a later one drops it."""

    __tablename__ = "failed_login"
    __table_args__ = (
        Index(None, "address", "moment"),
        Index(None, "username", "moment"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(128))
    address: Mapped[str] = mapped_column(String(45))
    moment: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
