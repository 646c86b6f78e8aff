#!/usr/bin/python
"""Give a host's domains their certificates: made there, given, or issued by ACME."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Give a host's domains their certificates
description:
  - Keeps a folder for each domain in C(/etc/hosted.flask/tls) with C(fullchain.pem) and C(privkey.pem). A domain that
    waits for ACME has a self-signed certificate meanwhile and a file in C(/var/lib/hosted.flask/tls/pending).
  - ACME is spoken by certbot, whose webroot C(/var/lib/hosted.flask/acme) is served by nginx.
options:
  verb:
    description:
      - C(prepare) gives each domain a certificate that nginx can be started with.
      - C(issue), run once nginx knows the domains, orders from ACME what is due, takes away what is of no domain any
        more, and lets nginx read what has changed once C(nginx -t) accepts it.
    type: str
    choices: [prepare, issue]
    required: true
  domains:
    description: Where each domain's certificate comes from, C(acme), C(own) or C(self_signed). C(_) is all other names.
    type: dict
    default: {}
  groups:
    description: Domains that share a certificate of ACME, by the certificate's name.
    type: dict
    default: {}
  certificates:
    description: >-
      For C(prepare), C(certificate) and C(key) of domains with one of their own, as texts or as files of the control
      node, which may be vaulted.
    type: dict
    default: {}
  project:
    description: The folder on the control node that relative files start from.
    type: str
    default: ""
  directory:
    description: URL of the ACME directory.
    type: str
    default: ""
  email:
    description: Where the directory may write to.
    type: str
    default: ""
  ca:
    description: A file of the host with the CA of the directory's own certificate, empty for those of the system.
    type: str
    default: ""
  eab:
    description: >-
      For C(prepare), what binds the ACME account to one that the issuer already knows (External Account Binding). The
      host keeps it in a file of root's, for the timer.
    type: dict
    suboptions:
      kid:
        description: The key id that the issuer gave.
        type: str
      hmac_key:
        description: The key that it gave with it, in base64url.
        type: str
  renew:
    description: For C(issue), order new certificates also where old ones are good, and soon after orders that failed.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Asks no directory.}
  diff_mode: {support: full, description: Shows what is public of each certificate.}
author: [hosted.flask developers]
"""
EXAMPLES = r"""
- name: Have a certificate for each domain
  hosted.flask.certificates:
    verb: prepare
    domains: {shop.example.org: acme, _: self_signed}
    groups: {shop: [shop.example.org]}
    directory: https://acme-v02.api.letsencrypt.org/directory
"""
RETURN = r"""
failures:
  description: A message for each domain that got no certificate, and for what else went wrong.
  type: list
  returned: success
timer:
  description: Whether the timer of role tls is on the host.
  type: bool
  returned: success
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosted.flask.plugins.module_utils.certificates import Host, Plan

TIMER = Path("/etc/systemd/system/hosted-flask-tls.timer")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "verb": {"type": "str", "choices": ["prepare", "issue"], "required": True},
            "domains": {"type": "dict", "default": {}},
            "groups": {"type": "dict", "default": {}},
            "certificates": {"type": "dict", "default": {}, "no_log": True},
            "project": {"type": "str", "default": ""},
            "directory": {"type": "str", "default": ""},
            "email": {"type": "str", "default": ""},
            "ca": {"type": "str", "default": ""},
            "eab": {
                "type": "dict",
                "options": {"kid": {"type": "str"}, "hmac_key": {"type": "str", "no_log": True}},
                "required_together": [("kid", "hmac_key")],
            },
            "renew": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    asked = module.params
    plan = Plan(**{key: asked[key] for key in ("domains", "groups", "directory", "email", "ca")})
    host = Host(plan, module.check_mode)
    if not plan.domains and not host.file.exists():
        module.exit_json(changed=False, failures=[], timer=False)
    before = host.table()
    with host.lock():
        if asked["verb"] == "prepare":
            host.keep_program()
            eab = asked["eab"] or {}
            host.prepare(asked["certificates"], eab if eab.get("kid") else {})
        else:
            host.drop()
            host.issue(asked["renew"])
    after = before + "".join(f"to do: {change}\n" for change in host.changes) if module.check_mode else host.table()
    module.exit_json(
        changed=bool(host.changes),
        failures=host.problems,
        timer=TIMER.exists(),
        diff={"before": before, "after": after, "before_header": "certificates", "after_header": "certificates"},
    )


if __name__ == "__main__":
    main()
