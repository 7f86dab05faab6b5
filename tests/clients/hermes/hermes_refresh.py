"""Takes Nous credentials as Hermes Agent does: its own code, on the store that the daemon shares.

    hermes_refresh.py [STEP…]

Run with the python of the `hermes` environment; HOME, HERMES_HOME and HERMES_PORTAL_BASE_URL come from
the caller. Without steps, they are read from standard input, a line each, so that a test can let Hermes
and the daemon take turns without starting Python each time. The steps:

    resolve     the credential for a request, refreshed when it is about to expire
    force       the same with a refresh in any case, as after an upstream 401
    pool        the credential pool's way to a credential for a request
    pool-force  the pool's refresh in any case
    rows        reads the pool, and tells its rows as `rows`: label and access_token_fp, refreshed each

Each step prints one line of JSON: step, ok, source, expires_at, access_token_fp and refresh_token_fp (the
first 12 hexadecimal digits of SHA-256; the refresh token's as it lies in the store afterwards), and after
a failure error, error_code and relogin_required. Exits with 1 when a step failed.
"""

import hashlib
import json
import os
import sys

# Hermes refreshes with httpx, which would send loopback requests through a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"

from agent.credential_pool import load_pool
from hermes_cli import auth


def fingerprint(token):
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else None


def stored_refresh_token():
    state = auth._load_provider_state(auth._load_auth_store(), "nous")
    return (state or {}).get("refresh_token")


def resolve(force_refresh):
    found = auth.resolve_nous_runtime_credentials(force_refresh=force_refresh)
    return found["source"], found["api_key"], found["expires_at"]


def from_pool(force_refresh):
    pool = load_pool("nous")
    entry = pool.select()
    if entry and force_refresh:
        entry = pool.try_refresh_current()
    if entry is None:
        raise LookupError("the pool has no usable entry")
    return entry.source, entry.runtime_api_key, entry.agent_key_expires_at


ROWS = []


def rows():
    pool = load_pool("nous")
    found = []
    for entry in pool.entries():
        kept = pool._refresh_entry(entry, force=False) or entry
        found.append({"label": kept.label, "access_token_fp": fingerprint(kept.access_token)})
    ROWS[:] = found
    return None, None, None


STEPS = {
    "rows": rows,
    "resolve": lambda: resolve(force_refresh=False),
    "force": lambda: resolve(force_refresh=True),
    "pool": lambda: from_pool(force_refresh=False),
    "pool-force": lambda: from_pool(force_refresh=True),
}


def run(step):
    line = dict.fromkeys(("source", "expires_at", "access_token_fp", "error"))
    try:
        source, access_token, expires_at = STEPS[step]()
    except Exception as exc:
        line["error"] = f"{type(exc).__name__}: {exc}"
        line["error_code"] = getattr(exc, "code", None)
        line["relogin_required"] = getattr(exc, "relogin_required", False)
    else:
        line["source"] = source
        line["expires_at"] = expires_at
        line["access_token_fp"] = fingerprint(access_token)
    ok = line["error"] is None
    if step == "rows":
        line["rows"] = list(ROWS)
    refresh_token_fp = fingerprint(stored_refresh_token())
    print(json.dumps({"step": step, "ok": ok, **line, "refresh_token_fp": refresh_token_fp}), flush=True)
    return ok


def main():
    if "HERMES_HOME" not in os.environ:
        sys.exit("hermes_refresh.py: HERMES_HOME must name a scratch folder: tokens are spent here")
    steps = sys.argv[1:] or map(str.strip, sys.stdin)
    outcomes = []
    for step in steps:
        if step not in STEPS:
            sys.exit(f"hermes_refresh.py: unknown step {step!r}: {', '.join(STEPS)}")
        outcomes.append(run(step))
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
