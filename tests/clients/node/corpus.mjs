// Reads each answer of a corpus with the official Node SDK, its accumulating stream helpers included.
//
//     corpus.mjs BASE_URL API_KEY CASES
//
// What CASES is, and what is printed, says ../python/corpus.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const testEnv =
  process.env.HERMES_TEST_ENV || resolve(import.meta.dirname, "../../../target/test-env");
const { APIError, OpenAI } = createRequire(join(resolve(testEnv), "node", "package.json"))("openai");

async function chat(client, { stream }) {
  const ask = { model: "m", messages: [{ role: "user", content: "hello" }] };
  if (!stream) return ofCompletion(await client.chat.completions.create(ask));
  const reader = client.chat.completions.stream(ask);
  return ofCompletion(await reader.finalChatCompletion());
}

function ofCompletion({ choices }) {
  assert.equal(choices.length, 1);
  const [{ message, finish_reason }] = choices;
  assert.ok(finish_reason, "there is no finish_reason");
  const calls = (message.tool_calls ?? []).map((call) =>
    call.type === "custom"
      ? [call.custom.name, call.custom.input]
      : [call.function.name, call.function.arguments],
  );
  return [message.content ?? "", message.refusal ?? "", calls];
}

async function responses(client, { stream }) {
  const ask = { model: "m", input: "hello" };
  if (!stream) return ofResponse(await client.responses.create(ask));
  let ended;
  for await (const event of client.responses.stream(ask)) {
    if (event.type === "response.completed" || event.type === "response.incomplete") {
      ended = event.response;
    }
  }
  assert.ok(ended, "the response has no end");
  return ofResponse(ended);
}

function ofResponse({ status, output }) {
  assert.ok(status === "completed" || status === "incomplete", `the response is ${status}`);
  let [text, refusal] = ["", ""];
  const calls = [];
  for (const item of output) {
    if (item.type === "message") {
      for (const part of item.content) {
        if (part.type === "output_text") text += part.text;
        if (part.type === "refusal") refusal += part.refusal;
      }
    } else if (item.type === "function_call") calls.push([item.name, item.arguments]);
    else if (item.type === "custom_tool_call") calls.push([item.name, item.input]);
    else assert.equal(item.type, "reasoning");
  }
  return [text, refusal, calls];
}

async function check(client, known) {
  const { wire, end } = known;
  let came;
  try {
    came = await (wire === "chat" ? chat : responses)(client, known);
  } catch (error) {
    if (end === "whole" || !(error instanceof APIError)) throw error;
    const isOurs = ["upstream_unreachable", "answer_too_large"].includes(error.code);
    assert.equal(isOurs, end === "cut", `${end}, and the SDK threw ${error}`);
    return;
  }
  assert.equal(end, "whole", `${end}, and the SDK read ${JSON.stringify(came)}`);
  for (const [name, got] of Object.entries({ text: came[0], refusal: came[1], calls: came[2] })) {
    if (known[name] !== null) {
      const wanted = JSON.stringify(known[name]);
      assert.deepEqual(got, known[name], `${name}: expected ${wanted}, got ${JSON.stringify(got)}`);
    }
  }
}

const [baseURL, apiKey, file] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(file, "utf-8"));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
let failed = 0;
for (const known of cases) {
  try {
    await check(client, known);
  } catch (error) {
    failed += 1;
    const how = known.stream ? "stream" : "whole";
    const name = error.constructor.name;
    console.log(`FAILED ${known.wire}, ${how}: ${known.name}: ${name}: ${error.message}`);
  }
}
console.log(`${cases.length} answers, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
