"""Running the doctor where the names of the apps point to the host."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from asking import CHECKOUT


@dataclass(frozen=True)
class Examined:
    """What the doctor told."""

    code: int
    said: str
    findings: list[dict[str, str]]

    def places(self) -> set[tuple[str, str, str]]:
        """Return level, app and check of each finding."""
        return {(found["level"], found["app"], found["check"]) for found in self.findings}


@pytest.fixture
def doctor(tmp_path: Path):
    """Run playbooks/doctor.yml, with the address of shop.example and more options."""

    def run(*words: str, address: str | None = "127.0.0.1") -> Examined:
        names, file = tmp_path / "hosts", tmp_path / "findings.json"
        names.write_text(f"127.0.0.1 localhost\n{address or '#'} shop.example\n")
        file.unlink(missing_ok=True)
        # Only this run sees these names: this machine's own stay as they are.
        seen = 'mount --bind "$0" /etc/hosts && exec "$@"'
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", seen, str(names)]
        command += ["ansible-playbook", str(CHECKOUT / "playbooks/doctor.yml"), "-e", f"json={file}", *words]
        command += ["-i", os.environ["MOLECULE_SCENARIO_DIRECTORY"] + "/inventory"]
        told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path)
        findings = json.loads(file.read_text())["hosted-test-doctor"] if file.exists() else []
        assert "hush-this-password" not in told.stdout + told.stderr + json.dumps(findings)
        return Examined(told.returncode, told.stdout + told.stderr, findings or [])

    return run
