"""What goes in and out, as marshmallow schemas: checked, and shown in the description."""

from collections.abc import Callable

from marshmallow import Schema, ValidationError, fields, validate

from ..model.jobs import STATES

# For Python, "$" would let a last newline pass.
USERNAME = [
    validate.Regexp(
        "^[a-z][a-z0-9_.-]{2,31}$",
        error="3 to 32 of a-z, 0-9, _ . and -, beginning with a letter.",
    ),
    validate.ContainsNoneOf("\n"),
]


def whole(value: str) -> None:
    """Refuse half a character, which JSON can hold and nothing else.

    :param value: What was given.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError("Half a character.") from None


# PostgreSQL takes no zeros either.
TEXT: list[Callable[[str], object]] = [
    validate.Length(max=128),
    validate.Regexp(r"^[^\x00]*$", error="A zero."),
    whole,
]


def secret(*rules: validate.Validator) -> fields.String:
    """Return a field for a password, which goes in and never out.

    :param rules: What it must be like, beside not endless.
    """
    return fields.String(
        required=True,
        load_only=True,
        validate=[*TEXT, *rules],
        metadata={"format": "password"},
    )


class Credentials(Schema):
    """Who logs in. Any text: what a name or a password looks like is not told here."""

    username = fields.String(required=True, validate=TEXT)
    password = secret()


class NewUser(Schema):
    """Who registers."""

    username = fields.String(required=True, validate=USERNAME)
    password = secret(validate.Length(min=10))


class NewPassword(Schema):
    """The old password and the new one."""

    current_password = secret()
    new_password = secret(validate.Length(min=10))


class UserOut(Schema):
    """A user."""

    id = fields.Integer(required=True)
    username = fields.String(required=True)
    groups = fields.List(fields.String(), required=True)
    created = fields.DateTime(required=True)


class AccessToken(Schema):
    """A token to ask with, good for a quarter of an hour."""

    access_token = fields.String(required=True)


class Tokens(AccessToken):
    """The tokens of a log-in. The second gets new ones of the first, for 30 days."""

    refresh_token = fields.String(required=True)


class NewJob(Schema):
    """What is to be done."""

    kind = fields.String(required=True, validate=validate.OneOf(["count"]))
    seconds = fields.Integer(required=True, strict=True, validate=validate.Range(min=1, max=60))


class JobOut(Schema):
    """A job."""

    id = fields.UUID(required=True)
    kind = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    progress = fields.Integer(required=True, validate=validate.Range(min=0, max=100))
    result = fields.Dict(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    created = fields.DateTime(required=True)
    finished = fields.DateTime(required=True, allow_none=True)
