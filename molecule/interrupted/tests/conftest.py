"""The two apps of this scenario, and what befalls a deploy."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from asking import CHECKOUT
from changing import App, changed

STRIKE = (Path(__file__).parent / "strike.py").read_text()


class Struck(App):
    """An app whose deploys are interrupted."""

    def deploy_until(self, moment: str, action: str, *, die: bool = True, **more: object) -> str:
        """Begin a deploy, let ``strike.py`` do its action at a moment of it, and return what it printed.

        :param die: ansible-playbook is killed then too; else it is let go on to its end.
        """
        inventory = os.environ["MOLECULE_SCENARIO_DIRECTORY"] + "/inventory"
        command = ["ansible-playbook", str(CHECKOUT / "deploy.yml"), "-i", inventory, *self.words(**more)]
        with ThreadPoolExecutor() as threads:
            struck = threads.submit(self.host.run, "python3 -c %s %s %s %s", STRIKE, self.name, moment, action)
            run = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                strike = struck.result()
                if not die:
                    run.communicate(timeout=120)
            finally:
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGKILL)
                said, _ = run.communicate()
        assert strike.rc == 0, strike.stderr + said
        return strike.stdout.strip()

    def serves_a_whole_release(self) -> bool:
        """Whether visitors get one; it is an error if they get another."""
        answer = self.ask()
        if answer.status == 200:
            assert answer.release in self.sealed()
        return answer.status == 200

    def converges(self) -> None:
        """See that the next deploy brings a new release, leaves nothing behind, and is all that there is to do."""
        before = self.release()
        _, release = self.update()
        assert release != before
        self.rests()
        assert changed(self.play("deploy")) == 0


@pytest.fixture
def shop(host):
    app = Struck(host, "shop")
    yield app
    host.run("pkill -KILL -u shop -x sleep")


@contextmanager
def full(app: App, folder: str, room: int):
    """Give a folder a file system of its own with so many bytes of room; more of it comes at the end."""
    used = int(app.host.check_output(f"du -sB1 {folder}").split()[0])
    app.host.check_output(
        f"mount -t tmpfs -o size={used + room} full /mnt && chown --reference={folder} /mnt"
        f" && chmod --reference={folder} /mnt && cp -a {folder}/. /mnt && mount --bind /mnt {folder} && umount /mnt"
    )
    try:
        yield
    finally:
        app.host.check_output(f"mount -o remount,size=400m {folder}")
