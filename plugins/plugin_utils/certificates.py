"""Which certificate each domain gets, and whether those that are given can be used. Runs on the control node only."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.hosted.flask.plugins.plugin_utils.apps import Problems
from cryptography import x509
from cryptography.hazmat.primitives import serialization

PARTS = ("certificate", "key")
# Both are written into a file of settings, so nothing that has a meaning there may be in them.
EAB = {
    "kid": (r"[\w.~:/+=@-]+", "the key id that the issuer gave you, of letters, digits and . _ ~ : / + = @ -"),
    "hmac_key": (r"([\w+/-]{4}){5,}[\w+/-]{2,4}={0,2}", "the HMAC key that the issuer gave you with it, in base64url"),
}


def modes(apps: list[dict[str, Any]], certificates: dict[str, Any], problems: Problems) -> dict[str, str]:
    """Return where each domain's certificate comes from; domains without one are left out.

    Apps that do not fit their domains, or each other, go into ``problems``.
    """
    found: dict[str, tuple[str, str]] = {}
    for app in apps:
        if app["state"] == "absent":
            continue
        at = f"flask_apps ({app['name']}).tls"
        if app["tls"] == "acme" and not app["domains"]:
            problems.add(at, "acme", "acme for an app with domains, self_signed or own for one of every name")
            continue
        for domain in app["domains"] or ["_"]:
            mode = "own" if domain in certificates else app["tls"]
            if mode == "own" and domain not in certificates:
                entry = f"own where tls_certificates has an entry for {shown(domain)}"
                problems.add(at, mode, f"{entry}: {{{domain}: {{certificate: FILE, key: FILE}}}}")
            other, first = found.setdefault(domain, (mode, app["name"]))
            if other != mode:
                problems.add(at, mode, f"{other} like app {first}, which is on {shown(domain)} too")
    return {domain: mode for domain, (mode, _) in found.items() if mode != "none"}


def shown(domain: str) -> str:
    """Return how people are told of a domain."""
    return "_ (every name)" if domain == "_" else domain


def groups(apps: list[dict[str, Any]], domains: dict[str, str]) -> dict[str, list[str]]:
    """Return the domains that share a certificate of ACME, by its name: those of an app that no app before has."""
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for app in apps:
        names = [name for name in app["domains"] if domains.get(name) == "acme" and name not in taken]
        if app["state"] == "present" and names:
            found[app["name"]] = names
            taken.update(names)
    return found


def texts(pair: Any, project: Path, loader: DataLoader) -> dict[str, str]:
    """Return the certificate and the key of an entry of ``tls_certificates``.

    :raises ValueError: what is missing, and of which part.
    """
    if not isinstance(pair, dict) or set(pair) != set(PARTS):
        raise ValueError("", "{certificate: FILE, key: FILE}")
    found = {}
    for part in PARTS:
        value = str(pair[part])
        if "-----BEGIN" not in value:
            try:
                value = loader.get_text_file_contents(str(project / value))
            except (AnsibleError, OSError, ValueError):
                raise ValueError(part, f"PEM text, or a file with it, plain or vaulted ({project / value})") from None
        found[part] = str(value).strip() + "\n"
    return found


def check(domain: str, pair: dict[str, str], at: str, problems: Problems) -> None:
    """Check that a certificate is good for a domain and that the key is its own, into ``problems``."""
    try:
        leaf = x509.load_pem_x509_certificates(pair["certificate"].encode())[0]
    except ValueError:
        problems.add(f"{at}.certificate", "no certificate", "PEM text: the domain's own certificate, then its chain")
        return
    try:
        key = serialization.load_pem_private_key(pair["key"].encode(), None)
    except TypeError:
        problems.add(f"{at}.key", "a key with a passphrase", "a key without; ansible-vault can protect it instead")
        return
    except ValueError:
        problems.add(f"{at}.key", "no private key", "PEM text of the certificate's private key")
        return
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        allowed = "the key of the certificate (of the first one, where the file holds a chain)"
        problems.add(f"{at}.key", "another certificate's key", allowed)
    end = leaf.not_valid_after_utc
    if end < datetime.datetime.now(datetime.UTC):
        problems.add(f"{at}.certificate", f"ended on {end:%Y-%m-%d}", "a certificate that is still good")
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        covered = []
    if domain != "_" and not {domain, "*." + domain.partition(".")[2]} & set(covered):
        problems.add(f"{at}.certificate", ", ".join(covered) or "no names", f"a certificate for {domain}")


def account(given: Any, problems: Problems) -> dict[str, str]:
    """Return the key id and the HMAC key of ``tls_acme_eab``, nothing where there are none or ``problems`` has why."""
    if not given and given in (None, {}):
        return {}
    if not isinstance(given, dict) or not set(given) <= set(EAB):
        problems.add("tls_acme_eab", "what it is", "{kid: KEY_ID, hmac_key: KEY}, or {} where the issuer wants none")
        return {}
    found = {part: str(given[part]).strip() for part in EAB if given.get(part) is not None}
    wrong = [part for part, (form, _) in EAB.items() if not re.fullmatch(form, found.get(part, ""), re.ASCII)]
    for part in wrong:
        shown = None if part not in found else found[part] if part == "kid" else "what it is"
        problems.add(f"tls_acme_eab.{part}", shown, EAB[part][1])
    return {} if wrong else found
