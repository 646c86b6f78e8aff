#!/usr/bin/python
"""Documentation of the action ``hosted.flask.preflight``, which runs on the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check the apps of a host and the host itself before anything is changed
description:
  - Checks every row of C(flask_apps) on the control node, then looks at the host in one round trip without Python.
  - One message tells all that is wrong, each time the key, its value, what is allowed and where to fix it.
  - Builds the apps' front ends on the control node where they are not built yet; an app whose front end cannot be built
    for want of npm is told by a warning.
  - Changes nothing on a host.
options:
  apps:
    description: The apps, as their owner wrote them.
    type: raw
    required: true
  platform:
    description: Where the host runs, C(local) or C(server).
    type: str
    default: ""
  defaults:
    description: Values for keys that an app's row leaves out.
    type: dict
    default: {}
  project:
    description: The folder that a relative source starts from. The checkout by default.
    type: str
    default: ""
  only:
    description: The name of one app; the others are checked but not returned.
    type: str
    default: ""
  remove:
    description: Treat the apps, or the one named by C(only), as C(absent).
    type: bool
    default: false
  purge:
    description: With C(remove), take their C(data/) too.
    type: bool
    default: false
  sources:
    description: Look at the apps' sources too. A rollback needs none.
    type: bool
    default: true
  root:
    description: >-
      What follows needs root's rights on own servers in any case. Otherwise a user who logs in as the account of apps
      works on these apps with the account's rights alone, as long as the host layer has not to change for them.
    type: bool
    default: false
  refuse:
    description: Fail where the host is not fit for the apps. Where it is only looked at, C(problems) tells the same.
    type: bool
    default: true
attributes:
  check_mode: {support: full, description: Changes nothing on a host in any mode.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Look before anything is changed
  hosted.flask.preflight:
    apps: "{{ flask_apps }}"
    platform: "{{ hosting_platform }}"
  register: hosting
"""
RETURN = r"""
apps:
  description: The completed apps, their secrets left out.
  type: list
  returned: success
become:
  description: Whether what follows needs root's rights.
  type: bool
  returned: success
problems:
  description: What is not fit on the host, with C(refuse) nothing.
  type: list
  returned: success
comparable:
  description: Whether all that C(stamp) stands for was looked at; without C(sources) some may be out of reach.
  type: bool
  returned: success
provisioned:
  description: Whether the host layer last converged with what it would converge with now.
  type: bool
  returned: success
system_provisioned:
  description: Whether that is so of all but the front, that is of roles server and supervisord.
  type: bool
  returned: success
tls:
  description: Where each domain's certificate comes from, domains without one left out; C(_) is all other names.
  type: dict
  returned: success
tls_groups:
  description: Domains that share a certificate of ACME, by its name.
  type: dict
  returned: success
stamp:
  description: The fingerprint of all that shapes the host layer, and below it one for what it knows of each app.
  type: str
  returned: success
stamp_spoilt:
  description: A stamp that lets the next deploy provision the host, with what the host layer still knows of each app.
  type: str
  returned: success
"""
