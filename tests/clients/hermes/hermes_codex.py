"""Takes OpenAI Codex credentials as Hermes Agent does: its own code, on the store that the daemon shares.

    hermes_codex.py ISSUER

Run with the python of the `hermes` environment; HOME and HERMES_HOME come from the caller. Hermes Agent asks
OpenAI's token endpoint alone, so its address is replaced here by that of ISSUER, the mock portal. The steps are
read from standard input, a line each:

    add JSON    `hermes auth add openai-codex`, where the device login gives these tokens
    resolve     the credential for a request, refreshed when it is about to expire
    force       the same, refreshed in any case
    pool        the credential pool's way to a credential for a request
    pool-force  the pool's refresh in any case
    force ID    the same of the row with this id

Each step prints one line of JSON: step, ok, id (of the pool's row, where one is meant), access_token_fp and
refresh_token_fp (the first 12 hexadecimal digits of SHA-256), and after a failure error. Exits with 1 when a step failed.
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

from agent.credential_pool import load_pool
from hermes_cli import auth, auth_commands

PROVIDER = "openai-codex"


def fingerprint(token):
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else None


def add(tokens):
    made = {
        "tokens": json.loads(tokens),
        "base_url": auth.DEFAULT_CODEX_BASE_URL,
        "last_refresh": auth.datetime.now(auth.timezone.utc).isoformat().replace("+00:00", "Z"),
    }
    auth._codex_device_code_login = lambda **_: made
    with contextlib.redirect_stdout(io.StringIO()):
        auth_commands.auth_add_command(SimpleNamespace(provider=PROVIDER, auth_type="oauth"))
    entry = load_pool(PROVIDER).entries()[-1]
    return entry.id, entry.access_token, entry.refresh_token


def resolve(force_refresh):
    found = auth.resolve_codex_runtime_credentials(force_refresh=force_refresh)
    tokens = auth._read_codex_tokens()["tokens"]
    return None, found["api_key"], tokens["refresh_token"]


def force(row):
    if not row:
        return resolve(force_refresh=True)
    pool = load_pool(PROVIDER)
    pool.acquire_lease(row)
    entry = pool.try_refresh_current()
    if entry is None:
        raise LookupError("the row was not refreshed")
    return entry.id, entry.runtime_api_key, entry.refresh_token


def from_pool(force_refresh):
    pool = load_pool(PROVIDER)
    entry = pool.select()
    if entry and force_refresh:
        entry = pool.try_refresh_current()
    if entry is None:
        raise LookupError("the pool has no usable entry")
    return entry.id, entry.runtime_api_key, entry.refresh_token


STEPS = {
    "add": add,
    "resolve": lambda _: resolve(force_refresh=False),
    "force": force,
    "pool": lambda _: from_pool(force_refresh=False),
    "pool-force": lambda _: from_pool(force_refresh=True),
}


def run(line):
    step, _, rest = line.partition(" ")
    told = {"step": step, "ok": True}
    try:
        told["id"], access, refresh = STEPS[step](rest)
    except Exception as exc:
        told.update(ok=False, error=f"{type(exc).__name__}: {exc}")
    else:
        told.update(access_token_fp=fingerprint(access), refresh_token_fp=fingerprint(refresh))
    print(json.dumps(told), flush=True)
    return told["ok"]


def main():
    if "HERMES_HOME" not in os.environ:
        sys.exit("hermes_codex.py: HERMES_HOME must name a scratch folder: tokens are spent here")
    auth.CODEX_OAUTH_TOKEN_URL = sys.argv[1] + "/oauth/token"
    outcomes = [run(line.strip()) for line in sys.stdin]
    sys.exit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
