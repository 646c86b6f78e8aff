"""What the operations of a subject are put into."""

from typing import Any

import flask_smorest
from flask import Request
from marshmallow import Schema
from webargs.flaskparser import FlaskParser, abort


class Parser(FlaskParser):
    """webargs', for which JSON can be wrong in two more ways."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        """Return what a body of JSON holds.

        :param req: The request.
        :param schema: What the body is held against.
        """
        try:
            return super().load_json(req, schema)
        # Too many brackets within each other; a number of too many digits.
        except (RecursionError, ValueError) as error:
            abort(400, exc=error, messages={"json": ["Invalid JSON body."]})


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]  # it has no types
    """flask-smorest's, with this parser."""

    ARGUMENTS_PARSER = Parser()
