// The engine in a worker: the page stays free while it computes.

import { startEngine } from "./engine.js";

const answer = startEngine((message) => self.postMessage(message));
self.addEventListener("message", ({ data }) => answer(data));
