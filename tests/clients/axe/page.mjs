// Looks at the status page with Chromium: axe-core's findings and a picture at each size and in each scheme, whether the
// page updates itself, and that other origins and rebound names get nothing. Prints one JSON object.
//
//     node page.mjs CHROMIUM PROFILE AXE PORT PICTURES
//
// Chromium is driven over its own protocol (Chrome DevTools Protocol), so that nothing is injected through the page's policy.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";

const [chromium, profile, axeFile, port, pictures] = process.argv.slice(2);
const page = `http://127.0.0.1:${port}/`;
const axe = readFileSync(axeFile, "utf8");
const patience = 60_000;

const browser = spawn(
  chromium,
  [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--force-color-profile=srgb", "--remote-debugging-port=0", `--user-data-dir=${profile}`,
    "--host-resolver-rules=MAP evil.example 127.0.0.1", "about:blank",
  ],
  // A group of its own: Chromium's other processes write into its profile until they are gone, too.
  { stdio: ["ignore", "ignore", "pipe"], detached: true },
);
const closed = new Promise((done) => browser.on("exit", done));
process.on("exit", () => {
  try { process.kill(-browser.pid, "SIGKILL"); } catch { /* all of them are gone */ }
});
setTimeout(() => { throw new Error("Chromium takes too long"); }, patience).unref();

const address = await new Promise((found, failed) => {
  let said = "";
  browser.stderr.on("data", (piece) => {
    said += piece;
    const match = said.match(/listening on (ws:\S+)/);
    if (match) found(match[1]);
  });
  browser.on("exit", () => failed(new Error(said)));
});

const socket = new WebSocket(address);
await new Promise((open, failed) => { socket.onopen = open; socket.onerror = failed; });
const waiting = new Map();
const listeners = new Set();
let last = 0;
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.id) {
    const { done, failed } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) failed(new Error(message.error.message)); else done(message.result);
  } else {
    for (const listener of listeners) listener(message);
  }
};
const call = (method, params = {}, sessionId = undefined) =>
  new Promise((done, failed) => {
    waiting.set(++last, { done, failed });
    socket.send(JSON.stringify({ id: last, method, params, sessionId }));
  });

// A tab, with what its console and the browser complain about.
const open = async () => {
  const { targetId } = await call("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
  const tab = { complaints: [], send: (method, params) => call(method, params, sessionId) };
  tab.event = (name) => new Promise((done) => {
    const listener = (message) => {
      if (message.sessionId !== sessionId || message.method !== name) return;
      listeners.delete(listener);
      done(message.params);
    };
    listeners.add(listener);
  });
  listeners.add(({ sessionId: from, method, params }) => {
    if (from !== sessionId) return;
    if (method === "Log.entryAdded") tab.complaints.push(params.entry.text);
    if (method === "Runtime.exceptionThrown") tab.complaints.push(JSON.stringify(params.exceptionDetails));
    if (method === "Audits.issueAdded") tab.complaints.push(JSON.stringify(params.issue));
  });
  for (const domain of ["Page", "Log", "Runtime", "Audits"]) await tab.send(`${domain}.enable`);
  tab.go = async (url) => {
    const loaded = tab.event("Page.loadEventFired");
    await tab.send("Page.navigate", { url });
    await loaded;
  };
  tab.ask = async (expression) => {
    const answer = await tab.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) throw new Error(JSON.stringify(answer.exceptionDetails));
    return answer.result.value;
  };
  return tab;
};

const look = async (tab, name, [width, height], scheme) => {
  await tab.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await tab.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 600 });
  await tab.go(page);
  const { data } = await tab.send("Page.captureScreenshot", { format: "png" });
  writeFileSync(`${pictures}/${name}-${scheme}.png`, Buffer.from(data, "base64"));
  await tab.ask("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
  await tab.ask(`${axe}; true`);
  const found = JSON.parse(await tab.ask(
    "axe.run().then(({violations, incomplete, passes}) => JSON.stringify({passes: passes.length, \
     violations: violations.map(({id, nodes}) => [id, nodes.map((node) => node.html + ' ' + node.failureSummary)]), \
     incomplete: incomplete.map(({id, nodes}) => [id, nodes.map((node) => node.html)])}))",
  ));
  const isWide = await tab.ask("document.documentElement.scrollWidth > document.documentElement.clientWidth");
  return { name, scheme, isWide, ...found };
};

const tab = await open();
await tab.send("Emulation.setTimezoneOverride", { timezoneId: "UTC" });
const looks = [];
for (const [name, size] of [["phone", [390, 844]], ["desktop", [1280, 900]]]) {
  for (const scheme of ["light", "dark"]) looks.push(await look(tab, name, size, scheme));
}

// It updates itself: the browser's clock runs ahead, so that nobody waits for it.
const served = "document.querySelector('.served').textContent";
const before = await tab.ask(served);
await fetch(`${page}v1/chat/completions`, { method: "POST", body: JSON.stringify({ model: "m", messages: [] }) }).then((answer) => answer.text());
await tab.ask("document.activeElement.blur(); document.getSelection().removeAllRanges()");
const ahead = tab.event("Emulation.virtualTimeBudgetExpired");
await tab.send("Emulation.setVirtualTimePolicy", { policy: "pauseIfNetworkFetchesPending", budget: 6000 });
await ahead;
await tab.send("Emulation.setVirtualTimePolicy", { policy: "advance" });
let after = before;
for (let tries = 0; after === before && tries < 200; tries++) {
  await new Promise((done) => setTimeout(done, 50));
  after = await tab.ask(served);
}
const isOpen = await tab.ask("document.getElementById('per-day').open");

// Another site's page, which names itself, and one that has another name lead here.
const site = createServer((_, answer) => { answer.setHeader("content-type", "text/html"); answer.end(`<iframe src="${page}"></iframe>`); });
await new Promise((done) => site.listen(0, "127.0.0.1", done));
const stranger = await open();
await stranger.go(`http://evil.example:${site.address().port}/`);
const crossed = await stranger.ask(`fetch(${JSON.stringify(page)}, {headers: {accept: "text/html"}}).then((answer) => answer.text(), () => "refused")`);
await stranger.go(`http://evil.example:${port}/`);
const rebound = await stranger.ask("document.body.innerText");

console.log(JSON.stringify({ looks, complaints: tab.complaints, before, after, isOpen, crossed, rebound }));
call("Browser.close").catch(() => {});
await closed;
process.exit(0);
