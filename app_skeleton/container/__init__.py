"""How the application is served in a container: ``entry`` is what starts."""
