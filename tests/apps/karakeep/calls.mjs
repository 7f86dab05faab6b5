// Calls the port as Karakeep's workers do, which no registry has (packages/shared/inference.ts of
// karakeep-app/karakeep): the same SDK, client options and parameters.
//
//     calls.mjs BASE_URL KEY FOLDER [codex]
//
// FOLDER is where the packages are; on openai-codex the names of the checks say so. Prints `ok NAME` or `FAILED NAME: …` for every check.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

const [baseURL, apiKey, folder, codex] = process.argv.slice(2);
const require = createRequire(join(folder, "package.json"));
const OpenAI = require("openai").default;
const { zodResponseFormat } = require("openai/helpers/zod");
const { z } = require("zod");

// Karakeep's defaults: OPENAI_BASE_URL is set, so it asks with max_tokens.
const textModel = "gpt-5-mini";
const embeddingModel = "text-embedding-3-small";
const dimensions = 1536;
const maxOutputTokens = 2048;
const jobTimeoutMs = 30_000;

const prompt = "Which tags has this page? ☕";
const reply = `Hello from the mock cloud: ${prompt}`;
const tags = z.object({ tags: z.array(z.string()) });
const image = Buffer.alloc(1_500_000, "☕").toString("base64");

const client = new OpenAI({
  apiKey,
  baseURL,
  timeout: undefined,
  defaultHeaders: { "X-Title": "Karakeep", "HTTP-Referer": "https://karakeep.app" },
  fetchOptions: undefined,
});

const formats = {
  structured: zodResponseFormat(tags, "schema"),
  json: { type: "json_object" },
  plain: undefined,
};

async function infer(content, format, more = {}, signal = AbortSignal.timeout(jobTimeoutMs)) {
  const request = {
    messages: [{ role: "user", content }],
    model: textModel,
    max_tokens: maxOutputTokens,
    response_format: formats[format],
    reasoning_effort: undefined,
    ...more,
  };
  const { choices, usage } = await client.chat.completions.create(request, { signal });
  assert.ok(usage.total_tokens > 0, "no token was counted");
  return choices[0].message.content;
}

async function tags_structured() {
  assert.deepEqual(tags.parse(JSON.parse(await infer(prompt, "structured"))), { tags: [reply] });
}

async function tags_json() {
  assert.deepEqual(JSON.parse(await infer(prompt, "json")), { reply });
}

async function summary_plain() {
  assert.equal(await infer(prompt, "plain"), reply);
}

async function tags_of_an_image() {
  const url = `data:image/jpeg;base64,${image}`;
  const content = [
    { type: "text", text: prompt },
    { type: "image_url", image_url: { url, detail: "low" } },
  ];
  assert.deepEqual(JSON.parse(await infer(content, "structured")), { tags: [reply] });
}

async function embeddings() {
  const input = [prompt, "another page"];
  const request = { model: embeddingModel, input, encoding_format: "float", dimensions };
  const { data, usage } = await client.embeddings.create(request);
  assert.deepEqual(
    data.map(({ embedding }) => embedding.length),
    [dimensions, dimensions],
  );
  assert.ok(data.every(({ embedding }) => embedding.every(Number.isFinite)));
  assert.ok(usage.total_tokens > 0);
}

async function a_job_that_times_out() {
  const slow = { mock: { delay_head_ms: 20_000 } };
  const asked = infer(prompt, "plain", slow, AbortSignal.timeout(500));
  await assert.rejects(asked, { name: "Error", message: "Request was aborted." });
}

const checks = [
  tags_structured,
  tags_json,
  summary_plain,
  tags_of_an_image,
  embeddings,
  // The mock is told to be slow by a member that no translation takes.
  ...(codex ? [] : [a_job_that_times_out]),
];
const where = codex ? "openai-codex: " : "";
for (const check of checks) {
  try {
    await check();
    console.log(`ok ${where}${check.name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED ${where}${check.name}: ${error.constructor.name}: ${error.message}`);
  }
}
