"""An app that needs every key of its description."""
