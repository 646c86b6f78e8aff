"""Users: register, see oneself, change the password; admins see everybody."""

from uuid import UUID

from flask import Flask
from flask_jwt_extended import current_user, get_jwt, jwt_required
from flask_smorest import Api
from flask_smorest.pagination import PaginationParameters
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from webargs.flaskparser import abort

from ..model import Login, User
from ..model.users import ADMINS
from . import devices, limits, passwords, tokens
from .blueprint import Blueprint
from .schemas import NewPassword, NewUser, UserOut

bp = Blueprint("users", __name__, url_prefix="/api/users", description="Users and their groups")

LAST = 2**63 - 1
WRONG = "The current password is wrong."


def register(app: Flask, api: Api) -> None:
    """Add the subject.

    :param app: The application.
    :param api: Where it is described.
    """
    api.register_blueprint(bp)


@bp.post("")
@bp.arguments(NewUser)
@bp.response(201, UserOut)
@bp.alt_response(409, description="The name is taken")
@bp.alt_response(429, description="Too many attempts; Retry-After says for how many seconds")
def create(given: dict[str, str]) -> User:
    """Register."""
    limits.count(limits.registration())
    user = User(
        username=given["username"],
        password_hash=passwords.hasher.hash(given["password"]),
        memberships=[],
    )
    try:
        with tokens.database().writing() as session:
            session.add(user)
    except IntegrityError:
        abort(409, message=f"The name {given['username']} is taken.")
    return user


@bp.get("")
@bp.response(200, UserOut(many=True))
@bp.paginate(page_size=20, max_page_size=100)
@bp.alt_response(401, description="No good access token")
@bp.alt_response(403, description="Not an admin")
@bp.doc(security=[{"access": []}])
@jwt_required()
def index(pagination_parameters: PaginationParameters) -> list[User]:
    """List all users, for admins."""
    if ADMINS not in current_user.groups:
        abort(403, message="Only admins see all users.")
    with tokens.database().reading() as session:
        pagination_parameters.item_count = session.scalar(select(func.count(User.id))) or 0
        # A visitor may ask for a page beyond what a database counts to: nobody is on it.
        first = min(pagination_parameters.first_item, LAST)
        chosen = select(User).order_by(User.id).offset(first)
        return list(session.scalars(chosen.limit(pagination_parameters.page_size)))


@bp.get("/me")
@bp.response(200, UserOut)
@bp.alt_response(401, description="No good access token")
@bp.doc(security=[{"access": []}])
@jwt_required()
def me() -> User:
    """Show who asks."""
    user: User = current_user
    return user


@bp.put("/me/password")
@bp.arguments(NewPassword)
@bp.response(204)
@bp.alt_response(401, description="No good access token")
@bp.alt_response(403, description="The current password is wrong")
@bp.alt_response(429, description="Too many attempts; Retry-After says for how many seconds")
@bp.doc(security=[{"access": []}])
@jwt_required()
def change_password(given: dict[str, str]) -> None:
    """Change one's password, and end all other log-ins."""
    here = UUID(get_jwt()["login"])
    limited = limits.change_of_password(current_user.id, here)
    limits.count(limited)
    stored = current_user.password_hash
    if not passwords.matches(given["current_password"], stored):
        abort(403, message=WRONG)
    hashed = passwords.hasher.hash(given["new_password"])
    with tokens.database().writing() as session:
        if not passwords.still(session, current_user.id, stored):
            abort(403, message=WRONG)
        user = session.get_one(User, current_user.id)
        user.password_hash = hashed
        session.execute(delete(Login).where(Login.user_id == user.id, Login.id != here))
    limits.forgive(limited)
    devices.remember(hashed, here)
