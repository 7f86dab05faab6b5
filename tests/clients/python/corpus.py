"""Reads each answer of a corpus with the official Python SDK, its accumulating stream helpers included.

    corpus.py BASE_URL API_KEY CASES

CASES is a file of JSON: `[{"name", "wire", "stream", "end", "text", "refusal", "calls"}]`. The upstream answers request by
request in this order. `wire` is `chat` or `responses`; `end` is `whole`, `failed` (the SDK has to raise the error) or `cut` (it
has to raise one of hermes-proxyd); what is null is not compared. Prints a line for each case that came out otherwise, and how
many there were; exits with 1 when one did.
"""

import json
import sys

import openai


def chat(client, stream):
    ask = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    if not stream:
        return of_completion(client.chat.completions.create(**ask))
    with client.chat.completions.stream(**ask) as events:
        for _ in events:
            pass
        # `get_final_completion` raises where the answer was cut short by its length or a filter.
        return of_completion(events.current_completion_snapshot)


def of_completion(completion):
    [choice] = completion.choices
    calls = []
    for call in choice.message.tool_calls or []:
        # The helper for streams knows functions alone, and keeps the rest as it came.
        of = getattr(call, call.type)
        of = of if isinstance(of, dict) else of.model_dump()
        calls.append([of["name"], of["input" if call.type == "custom" else "arguments"]])
    if not choice.finish_reason:
        raise AssertionError("there is no finish_reason")
    return choice.message.content or "", choice.message.refusal or "", calls


def responses(client, stream):
    ask = {"model": "m", "input": "hello"}
    if not stream:
        return of_response(client.responses.create(**ask))
    ended = None
    with client.responses.stream(**ask) as events:
        for event in events:
            if event.type in ("response.completed", "response.incomplete"):
                ended = event.response
    if ended is None:
        raise AssertionError("the response has no end")
    return of_response(ended)


def of_response(response):
    if response.status not in ("completed", "incomplete"):
        raise AssertionError(f"the response is {response.status}")
    text, refusal, calls = "", "", []
    for item in response.output:
        if item.type == "message":
            text += "".join(part.text for part in item.content if part.type == "output_text")
            refusal += "".join(part.refusal for part in item.content if part.type == "refusal")
        elif item.type in ("function_call", "custom_tool_call"):
            calls.append([item.name, item.input if item.type == "custom_tool_call" else item.arguments])
        elif item.type != "reasoning":
            raise AssertionError(f"an item of type {item.type}")
    return text, refusal, calls


def check(client, case):
    read = chat if case["wire"] == "chat" else responses
    try:
        came = read(client, case["stream"])
    except openai.APIError as error:
        if case["end"] == "whole":
            raise
        ours = ("upstream_unreachable", "answer_too_large")
        if (error.code in ours) != (case["end"] == "cut"):
            raise AssertionError(f"{case['end']}, and the SDK raised {error!r}") from error
        return
    if case["end"] != "whole":
        raise AssertionError(f"{case['end']}, and the SDK read {came!r}")
    for name, got in zip(("text", "refusal", "calls"), came):
        if case[name] is not None and case[name] != got:
            raise AssertionError(f"{name}: expected {case[name]!r}, got {got!r}")


def main():
    base_url, api_key, file = sys.argv[1:]
    with open(file, encoding="utf-8") as cases:
        cases = json.load(cases)
    client = openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=30)
    failed = 0
    for case in cases:
        try:
            check(client, case)
        except Exception as exc:
            failed += 1
            how = "stream" if case["stream"] else "whole"
            print(f"FAILED {case['wire']}, {how}: {case['name']}: {type(exc).__name__}: {exc}", flush=True)
    print(f"{len(cases)} answers, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
