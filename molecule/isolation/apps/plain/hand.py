"""Runs shell commands inside the account's supervisord: one a connection to instance/hand.sock, until its end."""

import contextlib
import json
import os
import socket
import subprocess

PATH = "instance/hand.sock"
if os.path.lexists(PATH):
    os.unlink(PATH)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(PATH)
    listener.listen()
    while True:
        client, _ = listener.accept()
        with client, contextlib.suppress(OSError):  # Who only tries whether he gets in waits for no answer.
            command = client.makefile().read()
            home = os.environ["HOME"]
            run = subprocess.run(
                ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=home
            )
            client.sendall(json.dumps([run.returncode, run.stdout, run.stderr]).encode())
