"""Drives an OpenAI-compatible port with the official Python SDK.

    openai_client.py BASE_URL [--model NAME] [--api-key KEY] [--expect-login-needed | --responses | --streams-only]

BASE_URL ends in /v1. Prints a line for every check, `ok NAME` or `FAILED NAME: …`; exits with 1 when one
failed. The upstream is the mock cloud: it answers "Hello from the mock cloud: <last user message>".
"""

import argparse
import sys

import openai

QUESTION = "is anybody there? ☕"
ANSWER = "Hello from the mock cloud: " + QUESTION
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
ALLOWED_PATHS = ["/chat/completions", "/completions", "/embeddings", "/messages", "/messages/count_tokens", "/models"]
LOGIN_COMMAND = "hermesctl auth login nous"


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {got!r}")


def expect_in(what, part, whole):
    if part not in whole:
        raise AssertionError(f"{what}: expected {part!r} in {whole!r}")


def raised(error, call):
    """The error of the given type that `call` raises."""
    try:
        answer = call()
    except error as exc:
        return exc
    raise AssertionError(f"expected {error.__name__}, got the answer {answer!r}")


def chat(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES)
    expect("content", answer.choices[0].message.content, ANSWER)
    expect("finish_reason", answer.choices[0].finish_reason, "stop")


def streaming_chat(client, model):
    parts, reasons = [], []
    with client.chat.completions.create(model=model, messages=MESSAGES, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    parts.append(choice.delta.content)
                if choice.finish_reason:
                    reasons.append(choice.finish_reason)
    expect("joined chunks", "".join(parts), ANSWER)
    expect("finish reasons", reasons, ["stop"])
    if len(parts) < 2:
        raise AssertionError(f"expected several chunks, got {parts!r}")


def broken_stream(client, model):
    """Breaks between two events: the SDK raises our message, behind what came before."""
    event = (
        'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        '[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}\n\n'
    )
    mock = {"body": event, "chunk_bytes": len(event), "cut_after_bytes": len(event)}
    parts = []

    def read():
        stream = client.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, extra_body={"mock": mock}
        )
        for chunk in stream:
            parts.append(chunk.choices[0].delta.content)

    error = raised(openai.APIError, read)
    expect_in("message", "the provider cut off its answer", error.message)
    expect("code", error.code, "upstream_unreachable")
    expect("parts", parts, ["half"])


def completions(client, model):
    answer = client.completions.create(model=model, prompt=QUESTION)
    expect("object", answer.object, "text_completion")
    if not answer.choices[0].text:
        raise AssertionError(f"expected a text, got {answer!r}")


def expect_vector(vector, length):
    if length is None and len(vector) < 8 or length is not None and len(vector) != length:
        raise AssertionError(f"expected {length or 'at least 8'} numbers, got {len(vector)}")
    if not all(isinstance(number, float) for number in vector):
        raise AssertionError(f"expected floats, got {vector!r}")


def embeddings_base64(client, model):
    """The SDK asks for base64 by itself and decodes it."""
    answer = client.embeddings.create(model=model, input=QUESTION)
    expect_vector(answer.data[0].embedding, None)


def embeddings_float(client, model):
    answer = client.embeddings.create(
        model=model, input=QUESTION, encoding_format="float", dimensions=12
    )
    expect_vector(answer.data[0].embedding, 12)


def models(client, _model):
    found = list(client.models.list())
    if not found or not all(entry.id and entry.object == "model" for entry in found):
        raise AssertionError(f"expected at least one model, got {found!r}")


def path_not_allowed(client, model):
    error = raised(
        openai.NotFoundError, lambda: client.images.generate(model=model, prompt=QUESTION)
    )
    expect("status", error.status_code, 404)
    expect("code", error.code, "path_not_allowed")
    for path in ALLOWED_PATHS:
        expect_in("message", path, error.message)


def login_needed(client, model):
    error = raised(
        openai.AuthenticationError,
        lambda: client.chat.completions.create(model=model, messages=MESSAGES),
    )
    expect("status", error.status_code, 401)
    expect("code", error.code, "upstream_auth_failed")
    expect_in("message", LOGIN_COMMAND, error.message)


def login_needed_streaming(client, model):
    error = raised(
        openai.AuthenticationError,
        lambda: client.chat.completions.create(model=model, messages=MESSAGES, stream=True),
    )
    expect("code", error.code, "upstream_auth_failed")
    expect_in("message", LOGIN_COMMAND, error.message)


def responses(client, model):
    answer = client.responses.create(model=model, input=QUESTION)
    expect("output_text", answer.output_text, ANSWER)


def streaming_responses(client, model):
    with client.responses.stream(model=model, input=QUESTION) as stream:
        parts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        expect("output_text", stream.get_final_response().output_text, ANSWER)
    expect("joined deltas", "".join(parts), ANSWER)


def created_stream(client, model):
    stream = client.responses.create(model=model, input=QUESTION, stream=True)
    parts = [event.delta for event in stream if event.type == "response.output_text.delta"]
    expect("joined deltas", "".join(parts), ANSWER)


def no_such_parameter(client, model):
    """A provider that refuses these never sees them."""
    answer = client.responses.create(
        model=model,
        input=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
        temperature=0.2,
        max_output_tokens=100,
        metadata={"a": "b"},
        truncation="auto",
        store=True,
    )
    expect("output_text", answer.output_text, ANSWER)


WORKING = [
    chat,
    streaming_chat,
    broken_stream,
    completions,
    embeddings_base64,
    embeddings_float,
    models,
    path_not_allowed,
]
LOGIN_NEEDED = [login_needed, login_needed_streaming]
RESPONSES = [responses, streaming_responses]
# Of a provider that answers with streams alone.
STREAMS_ONLY = [responses, created_stream, no_such_parameter, chat, streaming_chat, models]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_url")
    parser.add_argument("--model", default="Hermes-4-405B")
    parser.add_argument("--expect-login-needed", action="store_true")
    parser.add_argument("--responses", action="store_true")
    parser.add_argument("--streams-only", action="store_true")
    parser.add_argument("--api-key", default="nonsense")
    arguments = parser.parse_args()
    checks = WORKING
    if arguments.expect_login_needed:
        checks = LOGIN_NEEDED
    elif arguments.responses:
        checks = RESPONSES
    elif arguments.streams_only:
        checks = STREAMS_ONLY

    # The SDK's own retries would hide a failure that comes and goes.
    client = openai.OpenAI(
        base_url=arguments.base_url, api_key=arguments.api_key, max_retries=0, timeout=30
    )
    failed = False
    for check in checks:
        try:
            check(client, arguments.model)
        except Exception as exc:
            failed = True
            print(f"FAILED {check.__name__}: {type(exc).__name__}: {exc}", flush=True)
        else:
            print(f"ok {check.__name__}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
