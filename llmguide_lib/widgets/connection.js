// The page's end of a worker that runs the engine.

import { Refusal, REFUSALS } from "./refusals.js";

// A worker from the text of its modules joined into one (explorer.bundle), as JupyterLab and stored pages have it.
export function workerFrom(text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  return worker;
}

// {ask, stop, end}: `ask` gives {id, result}, result being the promise of a job's result, and tells every token or level.
export function connect(worker) {
  const waiting = new Map();
  let last = 0;
  worker.addEventListener("message", ({ data: { id, type, ...answer } }) => {
    const asked = waiting.get(id);
    if (type === "token" || type === "level") return asked?.tell(answer);
    waiting.delete(id);
    if (type === "done") return asked?.resolve(answer);
    asked?.reject(answer.key in REFUSALS ? new Refusal(answer.key, ...answer.values) : new Error(answer.message));
  });
  const fail = (error) => {
    for (const asked of waiting.values()) asked.reject(error);
    waiting.clear();
  };
  worker.addEventListener("error", ({ message }) => fail(new Error(message)));
  const ask = (job, request = {}, tell = () => {}) => {
    const id = (last += 1);
    const result = new Promise((resolve, reject) => waiting.set(id, { resolve, reject, tell }));
    worker.postMessage({ id, job, ...request });
    return { id, result };
  };
  const stop = (id) => ask("stop", { target: id }).result;
  const end = () => {
    worker.terminate();
    fail(new Error("the engine was ended"));
  };
  return { ask, stop, end };
}
