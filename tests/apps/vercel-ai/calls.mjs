// Calls the port through the Vercel AI SDK.
//
//     calls.mjs FOLDER BASE_URL KEY chat|responses|translated-chat|translated-responses|login
//
// FOLDER is where the packages are. Prints `ok NAME` or `FAILED NAME: …` for every check.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, baseURL, apiKey, what] = process.argv.slice(2);
const { resolve } = createRequire(join(folder, "package.json"));
const load = (name) => import(pathToFileURL(resolve(name)));
const { embedMany, generateText, Output, streamText } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { z } = await load("zod");

const openai = createOpenAI({ baseURL, apiKey });
const model = what.endsWith("responses") ? openai.responses("gpt-6-codex") : openai.chat("Hermes-4-405B");
const asked = { model, prompt: "hi there", maxRetries: 0 };
const reply = "Hello from the mock cloud: hi there";

async function whole() {
  assert.equal((await generateText(asked)).text, reply);
}

async function streamed() {
  const words = [];
  for await (const word of streamText({ ...asked, onError: ({ error }) => Promise.reject(error) }).textStream) {
    words.push(word);
  }
  assert.equal(words.join(""), reply);
  assert.ok(words.length > 1);
}

async function structured() {
  const schema = z.object({ tags: z.array(z.string()) });
  const answer = await generateText({ ...asked, output: Output.object({ schema }) });
  assert.deepEqual(answer.output, { tags: [reply] });
}

async function embeddings() {
  const answer = await embedMany({ model: openai.embedding("Hermes-4-405B"), values: ["hi", "there"], maxRetries: 0 });
  assert.deepEqual(answer.embeddings.map((one) => one.length), [16, 16]);
}

async function login_needed() {
  await assert.rejects(generateText(asked), (error) => {
    assert.equal(error.statusCode, 401);
    assert.match(error.message, /hermesctl auth login nous/);
    return true;
  });
}

const checks = {
  chat: [whole, streamed, structured, embeddings],
  responses: [whole, streamed, structured],
  "translated-chat": [whole, streamed, structured],
  "translated-responses": [whole, streamed, structured],
  login: [login_needed],
}[what];
let failed = false;
for (const check of checks) {
  const name = what === "login" ? check.name : `${what}: ${check.name}`;
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (error) {
    failed = true;
    console.log(`FAILED ${name}: ${String(error).replaceAll("\n", " ")}`);
  }
}
process.exit(failed ? 1 : 0);
