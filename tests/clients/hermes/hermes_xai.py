"""Takes xAI credentials as Hermes Agent does: its own code, on the store that the daemon shares.

    hermes_xai.py ISSUER

Run with the python of the `hermes` environment; HOME and HERMES_HOME come from the caller. Hermes Agent asks
xAI's hosts alone, so what pins them, and the endpoints' addresses, are replaced here by ISSUER, the mock
portal. The steps are read from standard input, a line each:

    add JSON    `hermes auth add xai-oauth`, where the device login gives these tokens
    resolve     the credential for a request, refreshed when it is about to expire
    pool        the credential pool's way to a credential for a request
    pool-force  the pool's refresh in any case
    force ID    the same of the row with this id
    hold        reads the pool for the next step
    late ID     the refresh of the row with this id by the pool that was read then
    exhaust N   the pool's entry in use is refused with this status, and the next one taken
    until ID    until when the row with this id is exhausted, in epoch seconds (`until`)
    reset       `hermes auth reset xai-oauth`

Each step prints one line of JSON: step, ok, id (of the pool's row), access_token_fp and refresh_token_fp (the
first 12 hexadecimal digits of SHA-256), and after a failure error. Exits with 1 when a step failed.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
from types import SimpleNamespace

# Hermes refreshes with httpx, which would send loopback requests through a proxy.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"

from agent import credential_pool
from agent.credential_pool import load_pool
from hermes_cli import auth, auth_commands

PROVIDER = "xai-oauth"


def fingerprint(token):
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else None


def at(issuer):
    """Has Hermes Agent ask the mock portal."""
    endpoints = {
        "authorization_endpoint": issuer + "/oauth2/authorize",
        "token_endpoint": issuer + "/oauth2/token",
    }
    auth._xai_validate_oauth_endpoint = lambda url, *, field: url
    auth._xai_oauth_discovery = lambda timeout_seconds=15.0: dict(endpoints)


def add(tokens):
    made = {
        "tokens": json.loads(tokens),
        "base_url": auth.DEFAULT_XAI_OAUTH_BASE_URL,
        "last_refresh": auth.datetime.now(auth.timezone.utc).isoformat().replace("+00:00", "Z"),
    }
    auth._xai_oauth_device_code_login = lambda **_: made
    with contextlib.redirect_stdout(io.StringIO()):
        auth_commands.auth_add_command(SimpleNamespace(provider=PROVIDER, auth_type="oauth"))
    entry = load_pool(PROVIDER).entries()[-1]
    return entry.id, entry.access_token, entry.refresh_token


def resolve(_):
    found = auth.resolve_xai_oauth_runtime_credentials()
    tokens = auth._read_xai_oauth_tokens()["tokens"]
    return None, found["api_key"], tokens["refresh_token"]


def from_pool(force_refresh):
    pool = load_pool(PROVIDER)
    entry = pool.select()
    if entry and force_refresh:
        entry = pool.try_refresh_current()
    if entry is None:
        raise LookupError("the pool has no usable entry")
    return entry.id, entry.runtime_api_key, entry.refresh_token


def force(row):
    pool = load_pool(PROVIDER)
    pool.acquire_lease(row)
    entry = pool.try_refresh_current()
    if entry is None:
        raise LookupError("the row was not refreshed")
    return entry.id, entry.runtime_api_key, entry.refresh_token


HELD = []


def hold(_):
    HELD[:] = [load_pool(PROVIDER)]
    return None, None, None


def late(row):
    pool = HELD.pop()
    pool.acquire_lease(row)
    entry = pool.try_refresh_current()
    return entry.id, entry.runtime_api_key, entry.refresh_token


def exhaust(status):
    pool = load_pool(PROVIDER)
    pool.select()
    entry = pool.mark_exhausted_and_rotate(status_code=int(status))
    if entry is None:
        raise LookupError("the pool has no usable entry")
    return entry.id, entry.runtime_api_key, entry.refresh_token


def until(row):
    entry = next(entry for entry in load_pool(PROVIDER).entries() if entry.id == row)
    return {"id": row, "until": credential_pool._exhausted_until(entry)}


def reset(_):
    load_pool(PROVIDER).reset_statuses()
    return None, None, None


STEPS = {
    "add": add,
    "force": force,
    "hold": hold,
    "late": late,
    "exhaust": exhaust,
    "until": until,
    "reset": reset,
    "resolve": resolve,
    "pool": lambda _: from_pool(force_refresh=False),
    "pool-force": lambda _: from_pool(force_refresh=True),
}


def run(line):
    step, _, rest = line.partition(" ")
    told = {"step": step, "ok": True}
    try:
        came = STEPS[step](rest)
        if isinstance(came, dict):
            told.update(came)
            came = told["id"], None, None
        told["id"], access, refresh = came
    except Exception as exc:
        told.update(ok=False, error=f"{type(exc).__name__}: {exc}")
    else:
        told.update(access_token_fp=fingerprint(access), refresh_token_fp=fingerprint(refresh))
    print(json.dumps(told), flush=True)
    return told["ok"]


def main():
    if "HERMES_HOME" not in os.environ:
        sys.exit("hermes_xai.py: HERMES_HOME must name a scratch folder: tokens are spent here")
    at(sys.argv[1])
    outcomes = [run(line.strip()) for line in sys.stdin]
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
