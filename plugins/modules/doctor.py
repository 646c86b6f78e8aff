#!/usr/bin/python
"""Documentation of the action ``hosted.flask.doctor``, whose other half runs as ``module_utils/doctor.py``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Tell what is wrong with a host and its apps, and what to do about it
description:
  - "Of the host: room on its disks and in the accounts' quotas, memory and what was killed for want of it, failed
    units, nginx with its ports and certificates, the firewall, the clock, pending security updates, and whether it is
    provisioned as the inventory says."
  - "Of each app, with the rights of its account: its programs and what supervisord would change, the release that
    answers and that visitors get, what an interrupted deploy left, its venv, permissions, and the databases and brokers
    that its settings name."
  - "From the control node: where the domains point, and the clock."
  - One call does all apps of a host. Nothing is changed. What needs root is left out without it, with a word.
options:
  hosting:
    description: What C(hosted.flask.preflight) returned, best with C(refuse=false).
    type: dict
    required: true
  rows:
    description: The apps as their owner wrote them. Their secrets are taken out of what is told.
    type: list
    elements: dict
    default: []
attributes:
  check_mode: {support: full, description: Changes nothing in any mode.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Examine the host
  hosted.flask.doctor:
    hosting: "{{ hosting }}"
    rows: "{{ flask_apps }}"
  register: examined
"""
RETURN = r"""
findings:
  description: >-
    What is wrong, the errors first. Each has C(host), C(app) (empty where it is the host itself), C(level) (C(error) or
    C(warning)), C(check), C(what) and C(do).
  type: list
  returned: success
errors:
  description: How many of them are errors.
  type: int
  returned: success
report:
  description: The same for people, with what was checked and what could not be.
  type: str
  returned: success
"""
