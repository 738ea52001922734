// A running model: where its bytes come from, and one worker for all explorers of a page that show the same model.

import { connect, workerFrom } from "./connection.js";
import { Refusal } from "./refusals.js";

// Explorers in a notebook are separate modules, so what they share stands in the page: by key {users, ready, end}.
const shared = (globalThis.llmguideModels ??= new Map());
const FOLDER = "../../../models/"; // on the website, of this module

// Whether an explorer's model can run on this page at all.
export function canOpen(model) {
  return Boolean(model.source || model.send || model.get("course"));
}

// {about, ask, stop, close}: the engine with the explorer's model loaded. `tell` hears the share of bytes that have
// arrived, `signal` gives up waiting; without `weights` it is the tokenizer alone. The worker ends with the last explorer
// that closes.
export async function openModel(model, { tell, signal, weights = true }) {
  const open = model.source ?? (model.send ? fromKernel : fromSite);
  const source = await open(model, { tell, signal, weights, running: [...shared.keys()] });
  signal.throwIfAborted();
  if (!source.load && !shared.has(source.key)) return openModel(model, { tell, signal, weights }); // it ended in between
  const entry = shared.get(source.key) ?? begin(source);
  entry.users.add(tell);
  const close = () => {
    if (entry.users.delete(tell) && !entry.users.size) entry.end();
  };
  try {
    const { about, link } = await Promise.race([entry.ready, aborted(signal)]);
    return { about, ask: link.ask, stop: link.stop, close };
  } catch (error) {
    close();
    throw error;
  }
}

function aborted(signal) {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

function begin({ key, load }) {
  const download = new AbortController();
  const entry = { users: new Set() };
  let link = null;
  const start = async () => {
    const { weights, tokenizer, worker } = await load((share) => entry.users.forEach((tell) => tell(share)), download.signal);
    download.signal.throwIfAborted();
    link = connect(made(worker));
    const about = await link.ask("load", { weights, tokenizer }).result;
    return { link, about: { ...about, ...(await link.ask("vocabulary").result) } };
  };
  entry.end = () => {
    if (shared.get(key) === entry) shared.delete(key);
    download.abort();
    link?.end();
  };
  entry.ready = start();
  entry.ready.catch(entry.end);
  shared.set(key, entry);
  return entry;
}

function made(worker) {
  try {
    return worker();
  } catch {
    throw new Refusal("noWorker");
  }
}

// Asks the notebook's kernel, which answers with the model's key and, unless it runs already, with its parts.
function fromKernel(model, { tell, signal, running }) {
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-"); // two views of a widget hear each other's answers
  const parts = [];
  return new Promise((resolve, reject) => {
    const hear = (message, buffers) => {
      if (message.id !== id) return;
      if (message.kind === "refused") return settle(() => reject(new Refusal(message.key, ...message.values)));
      parts.push(...buffers.map((one) => new Uint8Array(one.buffer ?? one, one.byteOffset ?? 0, one.byteLength)));
      tell(message.parts ? (message.part + 1) / message.parts : 1);
      if (message.kind === "part" && message.part + 1 < message.parts) return;
      const { key, tokenizer, engine, parts: count } = message;
      const load = async () => ({ weights: joined(parts), tokenizer, worker: () => workerFrom(engine) });
      settle(() => resolve({ key, load: count ? load : null }));
    };
    const settle = (then) => {
      model.off("msg:custom", hear);
      then();
    };
    signal.addEventListener("abort", () => settle(() => reject(signal.reason)));
    model.on("msg:custom", hear);
    model.send({ kind: "start", id, running });
  });
}

// Files that the website's builder wrote; only the course's own models have some.
async function fromSite(model, { weights }) {
  const name = model.get("course");
  if (!name) throw new Refusal("elsewhere");
  const folder = new URL(FOLDER, import.meta.url);
  const load = async (tell, signal) => ({
    weights: weights ? await fetched(new URL(`${name}.bin`, folder), signal, tell) : new Uint8Array(),
    tokenizer: JSON.parse(new TextDecoder().decode(await fetched(new URL(`${name}.json`, folder), signal))),
    worker: () => new Worker(new URL("./engine.worker.js", import.meta.url), { type: "module" }),
  });
  return { key: `site ${name}${weights ? "" : " tokenizer"}`, load };
}

async function fetched(address, signal, tell = () => {}) {
  const name = address.pathname.split("/").at(-1);
  const parts = [];
  let arrived = 0;
  try {
    const answer = await fetch(address, { signal });
    if (!answer.ok) throw new Error(answer.statusText);
    const size = Number(answer.headers.get("Content-Length"));
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return joined(parts);
      parts.push(value);
      arrived += value.length;
      if (size) tell(Math.min(1, arrived / size));
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refusal("unfetched", name);
  }
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
