"""Calls the port through Anthropic's Python SDK.

    calls.py ROOT_URL KEY [--expect-login-needed]

Prints `ok NAME` or `FAILED NAME: …` for every check; exits with 1 when one failed. The upstream is the mock cloud.
"""

import sys

import anthropic
import httpx2

ROOT, KEY = sys.argv[1:3]
MODEL = "anthropic/claude-sonnet-4.5"
ANSWER = "Hello from the mock cloud: hi there"
QUESTION = {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "hi there"}]}


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {got!r}")


def client(**options):
    return anthropic.Anthropic(base_url=ROOT, max_retries=0, timeout=30, **options)


BY_KEY = client(api_key=KEY)


def refusal(call, kind):
    """The error that a call raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def messages():
    answer = BY_KEY.messages.create(**QUESTION)
    expect("text", answer.content[0].text, ANSWER)
    expect("stop reason", answer.stop_reason, "end_turn")
    expect("usage", (answer.usage.input_tokens, answer.usage.output_tokens), (7, 5))


def with_a_bearer():
    answer = client(auth_token=KEY).messages.create(**QUESTION)
    expect("text", answer.content[0].text, ANSWER)


def messages_stream():
    with BY_KEY.messages.stream(**QUESTION) as stream:
        expect("text", "".join(stream.text_stream), ANSWER)
        expect("final message", stream.get_final_message().content[0].text, ANSWER)


def with_a_beta():
    answer = BY_KEY.beta.messages.create(**QUESTION, betas=["context-1m-2025-08-07"])
    expect("text", answer.content[0].text, ANSWER)


def count_tokens():
    counted = BY_KEY.messages.count_tokens(model=MODEL, messages=QUESTION["messages"])
    expect("tokens", counted.input_tokens, 7)


def the_providers_error():
    call = lambda: BY_KEY.messages.create(**{**QUESTION, "model": "Hermes-4-405B"})
    expect("type", refusal(call, anthropic.NotFoundError).body["error"]["type"], "not_found_error")


def path_not_allowed():
    error = refusal(BY_KEY.messages.batches.list, anthropic.NotFoundError)
    expect("type", error.body["error"]["type"], "path_not_allowed")


def broken_stream():
    broken = {"mock": {"chunk_bytes": 40, "cut_after_bytes": 400}}
    try:
        with BY_KEY.messages.stream(**QUESTION, extra_body=broken) as stream:
            list(stream.text_stream)
    except (anthropic.APIError, httpx2.HTTPError):
        return
    raise AssertionError("a cut answer looked whole")


def login_needed():
    error = refusal(lambda: BY_KEY.messages.create(**QUESTION), anthropic.AuthenticationError)
    expect("type", error.body["error"]["type"], "authentication_error")
    if "hermesctl auth login nous" not in str(error):
        raise AssertionError(f"{error} does not say how to log in")


def login_needed_streaming():
    def call():
        with BY_KEY.messages.stream(**QUESTION):
            pass

    refusal(call, anthropic.AuthenticationError)


CHECKS = [
    messages,
    with_a_bearer,
    messages_stream,
    with_a_beta,
    count_tokens,
    the_providers_error,
    path_not_allowed,
    broken_stream,
]
if "--expect-login-needed" in sys.argv:
    CHECKS = [login_needed, login_needed_streaming]
failed = False
for check in CHECKS:
    try:
        check()
    except Exception as error:
        failed = True
        print(f"FAILED {check.__name__}: {type(error).__name__}: {error}")
    else:
        print(f"ok {check.__name__}")
sys.exit(1 if failed else 0)
