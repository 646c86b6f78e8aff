"""Settings of gunicorn in a container."""

import os

bind = "0.0.0.0:8000"
workers = int(os.environ["PROCESSES"])
# gthread, or gevent: then a worker has as many WebSockets and slow visitors as one likes.
worker_class = os.environ.get("WORKER_CLASS", "gthread")
threads = int(os.environ["THREADS"])
# A worker that says nothing for so long is replaced.
timeout = 60
# How long requests in flight may take when the container stops; a WebSocket ends after 15 s.
graceful_timeout = 30
# Workers show that they live by touching a file, which must never wait for a disk.
worker_tmp_dir = "/dev/shm"
# It would be made in the home folder, which is read-only.
control_socket_disable = True
