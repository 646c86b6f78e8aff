#!/usr/bin/python
"""Documentation of the action ``hosted.flask.release``, whose other half runs as ``module_utils/work.py``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Work on the releases of a host's apps
description:
  - "C(deploy) ships each app into a sealed release, builds its venv, proves the release on a standby and switches to
    it."
  - "C(rollback) switches to a release that is kept on the host, C(restart) to the live one again. Neither loses a
    request, and neither needs the app's source."
  - "C(maintenance) has the front tell visitors that the app is closed, or lets them in again. Releases go on."
  - "C(status) changes nothing."
  - One call does all apps of a host, several at a time. Run as root it works as each app's account, with that
    account's rights.
  - Every app is tried; one that is refused does not hold the others back.
options:
  verb:
    description: What to do.
    type: str
    choices: [deploy, rollback, restart, maintenance, status]
    default: deploy
  apps:
    description: The apps as C(hosted.flask.preflight) returned them.
    type: list
    elements: dict
    required: true
  files:
    description: Per app, texts that a server's role rendered, by their paths in the release. For C(deploy).
    type: dict
  programs:
    description: Per app, the texts of its files in C(services.d), C(app) and C(standby). For C(deploy).
    type: dict
  rows:
    description: The apps as their owner wrote them. Only the secrets are taken from here. For C(deploy).
    type: list
    elements: dict
  release:
    description: For C(rollback), the id of the release; empty for the last good one.
    type: str
    default: ""
  maintenance:
    description: For C(maintenance), whether the apps are to be closed.
    type: bool
    default: false
  wait:
    description: Seconds to wait for an app that somebody else works on.
    type: int
    default: 0
  deadline:
    description: >-
      Seconds for the work on one app, more than the longest build, migration and wait for a lock together; what is not
      done by then is ended. To look or to close an app has a minute.
    type: int
    default: 3600
attributes:
  check_mode: {support: full, description: Tells what would be done.}
  diff_mode: {support: full, description: "Shows the files, settings and packages that change, never a secret."}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Release the apps
  hosted.flask.release:
    apps: "{{ preflight.apps }}"
    files: "{{ uwsgi_files }}"
    programs: "{{ supervisord_programs }}"
    rows: "{{ flask_apps }}"

- name: Go back to the last good release
  hosted.flask.release:
    verb: rollback
    apps: "{{ preflight.apps }}"

- name: Close the apps for visitors
  hosted.flask.release:
    verb: maintenance
    maintenance: true
    apps: "{{ preflight.apps }}"
"""
RETURN = r"""
apps:
  description: >-
    Per app C(changed), C(release), C(actions), C(kept) (the data that a removal left in place), and for C(status)
    C(status), what C(status()) of C(module_utils/releases.py) returns.
  type: dict
  returned: always
rows:
  description: For C(status), the same as a list with the C(host) in each row.
  type: list
  returned: for status
"""
