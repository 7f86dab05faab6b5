"""Calls the port through the libraries that many apps are made of.

    calls.py BASE_URL KEY [responses|translated-responses|translated-chat]

Prints `ok NAME` or `FAILED NAME: …` for every check.
"""

import sys

import litellm
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

BASE, KEY, *WHAT = sys.argv[1:]
MODEL = "Hermes-4-405B"
ANSWER = "Hello from the mock cloud: hi there"
MESSAGES = [{"role": "user", "content": "hi there"}]
# The mock's, when none is asked for.
DIMENSION = 16


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"expected {wanted!r}, got {got!r}")


def litellm_chat():
    answer = litellm.completion(f"openai/{MODEL}", MESSAGES, api_base=BASE, api_key=KEY)
    expect(answer.choices[0].message.content, ANSWER)


def litellm_stream():
    chunks = litellm.completion(f"openai/{MODEL}", MESSAGES, api_base=BASE, api_key=KEY, stream=True)
    expect("".join(chunk.choices[0].delta.content or "" for chunk in chunks), ANSWER)


def litellm_embedding():
    answer = litellm.embedding(f"openai/{MODEL}", ["hi", "there"], api_base=BASE, api_key=KEY)
    expect([len(one["embedding"]) for one in answer.data], [DIMENSION] * 2)


def langchain_chat():
    expect(chat_openai().invoke([HumanMessage("hi there")]).content, ANSWER)


def langchain_stream():
    expect("".join(chunk.content for chunk in chat_openai().stream("hi there")), ANSWER)


def langchain_structured():
    class Tags(BaseModel):
        tags: list[str]

    model = chat_openai().with_structured_output(Tags, method="json_schema")
    expect(model.invoke("hi there"), Tags(tags=[ANSWER]))


def langchain_embeddings():
    # Its tokens' table would come from the internet.
    model = OpenAIEmbeddings(model=MODEL, base_url=BASE, api_key=KEY, check_embedding_ctx_length=False)
    expect([len(vector) for vector in model.embed_documents(["hi", "there"])], [DIMENSION] * 2)


def chat_openai():
    return ChatOpenAI(model=MODEL, base_url=BASE, api_key=KEY)


def langchain_responses():
    expect(by_responses().invoke("hi there").text, ANSWER)


def langchain_responses_stream():
    expect("".join(chunk.text for chunk in by_responses().stream("hi there")), ANSWER)


def by_responses():
    return ChatOpenAI(model=MODEL, base_url=BASE, api_key=KEY, use_responses_api=True)


def llama_index_chat():
    expect(openai_like().chat([ChatMessage("hi there")]).message.content, ANSWER)


def llama_index_stream():
    parts = openai_like().stream_chat([ChatMessage("hi there")])
    expect("".join(part.delta or "" for part in parts), ANSWER)


def llama_index_embeddings():
    model = OpenAILikeEmbedding(model_name=MODEL, api_base=BASE, api_key=KEY)
    vectors = model.get_text_embedding_batch(["hi", "there"])
    expect([len(vector) for vector in vectors], [DIMENSION] * 2)


def openai_like():
    return OpenAILike(model=MODEL, api_base=BASE, api_key=KEY, is_chat_model=True)


CHECKS = [
    litellm_chat,
    litellm_stream,
    litellm_embedding,
    langchain_chat,
    langchain_stream,
    langchain_structured,
    langchain_embeddings,
    llama_index_chat,
    llama_index_stream,
    llama_index_embeddings,
]
if WHAT == ["translated-chat"]:
    CHECKS = [check for check in CHECKS if "embedding" not in check.__name__]
elif WHAT:
    CHECKS = [langchain_responses, langchain_responses_stream]
PREFIX = "".join(f"{what}: " for what in WHAT)
failed = False
for check in CHECKS:
    try:
        check()
    except Exception as error:
        failed = True
        print(f"FAILED {PREFIX}{check.__name__}: {type(error).__name__}: {error}")
    else:
        print(f"ok {PREFIX}{check.__name__}")
sys.exit(1 if failed else 0)
