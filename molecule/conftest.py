"""For the tests of all scenarios: their helpers, and the services' logs below a test that failed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "resources"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # visitors

# An account may have put something else than a file there, which has no end.
LOGS = (
    'find /home/*/logs "$1"/.hosted/logs /var/log/nginx/error.log -name "*.log" -type f -size -64M'
    ' -exec tail -vn 15 {} +; journalctl -qn 15 --no-pager -u nginx -u "supervisord@*"'
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the logs of the host that a failed test asked."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        from asking import PROJECT

        report.sections.append(("logs", host.run(f"sh -c '{LOGS}' logs %s 2>/dev/null", str(PROJECT)).stdout))
    return report
