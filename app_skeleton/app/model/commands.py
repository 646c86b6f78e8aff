"""``flask db`` (Alembic's commands) and ``flask users``."""

import logging
from typing import Literal

import click
from flask import current_app
from flask.cli import ScriptInfo, with_appcontext
from sqlalchemy import select

from .. import settings
from .base import Base, Moment
from .database import WRITING, Database, make_engine
from .users import Group, User


class Migrations(click.Group):
    """Flask-Alembic's commands, imported when one is used: a server needs none of it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands.

        :param ctx: Click's context.
        """
        from flask_alembic.cli import cli

        return cli.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command, ready to run.

        :param ctx: Click's context.
        :param cmd_name: Its name.
        """
        logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
        from flask_alembic import Alembic
        from flask_alembic.cli import cli

        app = ctx.ensure_object(ScriptInfo).load_app()
        ctx.with_resource(app.app_context())
        app.config["ALEMBIC"] = {"script_location": str(settings.TOP / "migrations")}
        # SQLite cannot change a column in place: Alembic copies the table instead. Without foreign
        # keys, or else removing the old table would remove what refers to it.
        # All of a migration or nothing of it: begin_sqlite makes that true for SQLite as well.
        app.config["ALEMBIC_CONTEXT"] = {
            "render_as_batch": True,
            "transactional_ddl": True,
            "render_item": render_moment,
        }
        engine = make_engine(app.config["DATABASE_URL"], foreign_keys=False)
        ctx.obj = Alembic(
            app,
            run_mkdir=False,
            command_name="",
            metadatas=Base.metadata,
            engines=engine.execution_options(**WRITING),
        )
        ctx.call_on_close(engine.dispose)
        return cli.get_command(ctx, cmd_name)


def render_moment(kind: str, thing: object, context: object) -> str | Literal[False]:
    """Write a Moment into a new migration as what the database knows of it.

    :param kind: Of thing, "type" among others.
    :param thing: What is about to be written.
    :param context: Alembic's.
    """
    return "sa.DateTime(timezone=True)" if isinstance(thing, Moment) else False


db = Migrations("db", help="Change the database's tables as the migrations say.")


@click.group()
def users() -> None:
    """Manage users."""


@users.command()
@click.argument("username")
@click.argument("group")
@with_appcontext
def grant(username: str, group: str) -> None:
    """Put USERNAME into GROUP, such as admins."""
    database: Database = current_app.extensions["database"]
    with database.writing() as session:
        user = session.scalar(select(User).where(User.username == username))
        if user is None:
            raise click.ClickException(f"There is no user {username}.")
        found = session.scalar(select(Group).where(Group.name == group)) or Group(name=group)
        if found not in user.memberships:
            user.memberships.append(found)
    click.echo(f"{username}: {', '.join(user.groups)}")
