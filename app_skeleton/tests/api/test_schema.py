"""The API does what it says: schemathesis tries to find something else."""

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from werkzeug.serving import make_server

pytest.importorskip("app.api")
pytest.importorskip("app.model")
pytest.importorskip("app.tasks")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("schemathesis"), reason="it is not installed")
def test_schema(make_api, tmp_path):
    """All checks of schemathesis, on a server with everything put in."""
    app = make_api()
    app.extensions["tasks"] = lambda job_id: None
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    hooks = Path(__file__).with_name("schema_hooks.py")
    try:
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{base}/api/openapi.json"),
                *("--checks", "all", "--max-examples", "15", "--no-color", "--seed", "1"),
            ],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(hooks), "BASE_URL": base},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "No issues found" in ran.stdout, ran.stdout
    print(ran.stdout)
