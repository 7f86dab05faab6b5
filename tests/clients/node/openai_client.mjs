// Drives an OpenAI-compatible port with the official Node SDK.
//
//     openai_client.mjs BASE_URL [--model NAME] [--expect-login-needed | --responses]
//
// BASE_URL ends in /v1. Prints a line for every check, `ok NAME` or `FAILED NAME: …`; exits with 1 when
// one failed. The upstream is the mock cloud: it answers "Hello from the mock cloud: <last user message>".

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

// The SDK lies in the test environment, not beside this file, where `import` would look for it.
const testEnv =
  process.env.HERMES_TEST_ENV || resolve(import.meta.dirname, "../../../target/test-env");
const { APIError, OpenAI } = createRequire(join(resolve(testEnv), "node", "package.json"))("openai");

const question = "is anybody there? ☕";
const answer = `Hello from the mock cloud: ${question}`;
const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: question },
];
const allowedPaths = ["/chat/completions", "/completions", "/embeddings", "/messages", "/messages/count_tokens", "/models"];
const loginCommand = "hermesctl auth login nous";

function expect(what, got, wanted) {
  assert.deepEqual(
    got,
    wanted,
    `${what}: expected ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}`,
  );
}

function expectIn(what, part, whole) {
  assert.ok(whole.includes(part), `${what}: expected "${part}" in "${whole}"`);
}

/** The error of the given type that `call` rejects with. */
async function raised(type, call) {
  let value;
  try {
    value = await call();
  } catch (error) {
    if (error instanceof type) return error;
    throw error;
  }
  throw new Error(`expected ${type.name}, got the answer ${JSON.stringify(value)}`);
}

async function chat(client, model) {
  const { choices } = await client.chat.completions.create({ model, messages });
  expect("content", choices[0].message.content, answer);
  expect("finish_reason", choices[0].finish_reason, "stop");
}

async function streaming_chat(client, model) {
  const parts = [];
  const reasons = [];
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const chunk of stream) {
    for (const choice of chunk.choices) {
      if (choice.delta.content) parts.push(choice.delta.content);
      if (choice.finish_reason) reasons.push(choice.finish_reason);
    }
  }
  expect("joined chunks", parts.join(""), answer);
  expect("finish reasons", reasons, ["stop"]);
  assert.ok(parts.length >= 2, `expected several chunks, got ${JSON.stringify(parts)}`);
}

/** Breaks between two events: the SDK throws our message, behind what came before. */
async function broken_stream(client, model) {
  const event =
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":' +
    '[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}\n\n';
  const mock = { body: event, chunk_bytes: event.length, cut_after_bytes: event.length };
  const parts = [];
  const error = await raised(APIError, async () => {
    const stream = await client.chat.completions.create({ model, messages, stream: true, mock });
    for await (const chunk of stream) parts.push(chunk.choices[0].delta.content);
  });
  expectIn("message", "the provider cut off its answer", error.message);
  expect("code", error.code, "upstream_unreachable");
  expect("parts", parts, ["half"]);
}

async function completions(client, model) {
  const completion = await client.completions.create({ model, prompt: question });
  expect("object", completion.object, "text_completion");
  assert.ok(
    completion.choices[0].text,
    `expected a text, got ${JSON.stringify(completion)}`,
  );
}

function expectVector(vector, length) {
  const wanted = length === undefined ? "at least 8" : length;
  const fits = length === undefined ? vector.length >= 8 : vector.length === length;
  assert.ok(fits, `expected ${wanted} numbers, got ${vector.length}`);
  assert.ok(vector.every(Number.isFinite), `expected numbers, got ${JSON.stringify(vector)}`);
}

/** The SDK asks for base64 by itself and decodes it. */
async function embeddings_base64(client, model) {
  const { data } = await client.embeddings.create({ model, input: question });
  expectVector(data[0].embedding);
}

async function embeddings_float(client, model) {
  const { data } = await client.embeddings.create({
    model,
    input: question,
    encoding_format: "float",
    dimensions: 12,
  });
  expectVector(data[0].embedding, 12);
}

async function models(client) {
  const found = [];
  for await (const entry of client.models.list()) found.push(entry);
  const fits = found.length > 0 && found.every((entry) => entry.id && entry.object === "model");
  assert.ok(fits, `expected at least one model, got ${JSON.stringify(found)}`);
}

async function path_not_allowed(client, model) {
  const error = await raised(OpenAI.NotFoundError, () =>
    client.images.generate({ model, prompt: question }),
  );
  expect("status", error.status, 404);
  expect("code", error.code, "path_not_allowed");
  for (const path of allowedPaths) expectIn("message", path, error.message);
}

async function login_needed(client, model) {
  const error = await raised(OpenAI.AuthenticationError, () =>
    client.chat.completions.create({ model, messages }),
  );
  expect("status", error.status, 401);
  expect("code", error.code, "upstream_auth_failed");
  expectIn("message", loginCommand, error.message);
}

async function login_needed_streaming(client, model) {
  const error = await raised(OpenAI.AuthenticationError, () =>
    client.chat.completions.create({ model, messages, stream: true }),
  );
  expect("code", error.code, "upstream_auth_failed");
  expectIn("message", loginCommand, error.message);
}

async function responses(client, model) {
  const { output_text } = await client.responses.create({ model, input: question });
  expect("output_text", output_text, answer);
}

async function streaming_responses(client, model) {
  const parts = [];
  const stream = client.responses.stream({ model, input: question });
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") parts.push(event.delta);
  }
  expect("joined deltas", parts.join(""), answer);
  const { output_text } = await stream.finalResponse();
  expect("output_text", output_text, answer);
}

async function created_stream(client, model) {
  const parts = [];
  const stream = await client.responses.create({ model, input: question, stream: true });
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") parts.push(event.delta);
  }
  expect("joined deltas", parts.join(""), answer);
}

// A provider that refuses these never sees them.
async function no_such_parameter(client, model) {
  const { output_text } = await client.responses.create({
    model,
    input: [
      { role: "system", content: "Be brief." },
      { role: "user", content: question },
    ],
    temperature: 0.2,
    max_output_tokens: 100,
    metadata: { a: "b" },
    truncation: "auto",
    store: true,
  });
  expect("output_text", output_text, answer);
}

const working = [
  chat,
  streaming_chat,
  broken_stream,
  completions,
  embeddings_base64,
  embeddings_float,
  models,
  path_not_allowed,
];
const loginNeeded = [login_needed, login_needed_streaming];
const throughResponses = [responses, streaming_responses];
// Of a provider that answers with streams alone.
const streamsOnly = [
  responses,
  created_stream,
  no_such_parameter,
  chat,
  streaming_chat,
  models,
];

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "Hermes-4-405B" },
    "expect-login-needed": { type: "boolean", default: false },
    responses: { type: "boolean", default: false },
    "streams-only": { type: "boolean", default: false },
    "api-key": { type: "string", default: "nonsense" },
  },
});
if (positionals.length !== 1) {
  console.error(
    "usage: openai_client.mjs BASE_URL [--model NAME] [--api-key KEY] " +
      "[--expect-login-needed | --responses | --streams-only]",
  );
  process.exit(2);
}

// The SDK's own retries would hide a failure that comes and goes.
const client = new OpenAI({
  baseURL: positionals[0],
  apiKey: values["api-key"],
  maxRetries: 0,
  timeout: 30_000,
});
let checks = working;
if (values["expect-login-needed"]) checks = loginNeeded;
else if (values.responses) checks = throughResponses;
else if (values["streams-only"]) checks = streamsOnly;
for (const check of checks) {
  try {
    await check(client, values.model);
    console.log(`ok ${check.name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${check.name}: ${error.constructor.name}: ${error.message}`);
  }
}
