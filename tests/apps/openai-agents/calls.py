"""Runs an agent of OpenAI's Agents SDK on the port.

    calls.py BASE_URL KEY chat|responses|translated-chat|translated-responses|login

Prints `ok NAME` or `FAILED NAME: …` for every check; exits with 1 when one failed.
"""

import asyncio
import sys

import openai
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled
from pydantic import BaseModel

BASE, KEY, WHAT = sys.argv[1:]
ANSWER = "Hello from the mock cloud: hi there"


class Tags(BaseModel):
    tags: list[str]


def agent(**options):
    client = openai.AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0)
    if WHAT.endswith("responses"):
        model = OpenAIResponsesModel(model="gpt-6-codex", openai_client=client)
    else:
        model = OpenAIChatCompletionsModel(model="Hermes-4-405B", openai_client=client)
    return Agent(name="one", instructions="Answer.", model=model, **options)


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"expected {wanted!r}, got {got!r}")


async def whole():
    expect((await Runner.run(agent(), "hi there")).final_output, ANSWER)


async def streamed():
    result = Runner.run_streamed(agent(), "hi there")
    events = [event async for event in result.stream_events()]
    expect(result.final_output, ANSWER)
    raw = [event.data for event in events if event.type == "raw_response_event"]
    words = [data.delta for data in raw if data.type == "response.output_text.delta"]
    expect("".join(words), ANSWER)


async def structured():
    expect((await Runner.run(agent(output_type=Tags), "hi there")).final_output, Tags(tags=[ANSWER]))


async def login_needed():
    try:
        await Runner.run(agent(), "hi there")
    except openai.AuthenticationError as error:
        if "hermesctl auth login nous" not in str(error):
            raise AssertionError(f"{error} does not say how to log in") from error
        return
    raise AssertionError("no error was raised")


set_tracing_disabled(True)
failed = False
for check in [login_needed] if WHAT == "login" else [whole, streamed, structured]:
    name = check.__name__ if WHAT == "login" else f"{WHAT}: {check.__name__}"
    try:
        asyncio.run(check())
    except Exception as error:
        failed = True
        print(f"FAILED {name}: {type(error).__name__}: {error}")
    else:
        print(f"ok {name}")
sys.exit(1 if failed else 0)
