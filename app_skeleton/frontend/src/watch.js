// Follows a job until it ends: by a WebSocket, and by asking again and again where none can be had.

import { ApiError, SessionEnded } from "./api.js";

// Why the server closes a WebSocket, see app/api/watch.py.
const NORMAL = 1000;
const BAD_TOKEN = 4401;
const NO_JOB = 4404;

const SECOND = 1000;
// A WebSocket that says nothing for so long is held up by something in between.
const PATIENCE = 5 * SECOND;
// After each WebSocket that failed, ask so often before the next is tried. After the last, for ever.
const ASK = [2, 4, 8, 16, 32];

export function hasEnded(job) {
  return job.state === "done" || job.state === "failed";
}

/**
 * Resolve when a job has ended, or when nobody looks any more.
 *
 * @param {object} api
 * @param {string} id the job's
 * @param {object} options
 * @param {(job: object) => void} options.show called at each change
 * @param {(way: "websocket" | "asking" | "lost") => void} options.by how one learns of changes now
 * @param {AbortSignal} options.signal that nobody looks any more
 */
export async function watch(api, id, { show, by, signal }) {
  let failures = 0;
  let refused = false;
  while (!signal.aborted) {
    const token = await patiently(() => api.token({ renew: refused }), by, signal);
    if (signal.aborted) {
      return;
    }
    const { code, told, ended } = await listen(api, id, token, { show, by, signal });
    if (ended || signal.aborted) {
      return;
    }
    if (code === NO_JOB) {
      throw new ApiError(404, "You have no such job.");
    }
    if (code === BAD_TOKEN && refused) {
      api.end();
    }
    refused = code === BAD_TOKEN;
    if (refused) {
      continue;
    }
    if (told) {
      failures = 0;
      // What broke off is back soon: the server restarts. What came to its end leaves its thread to
      // the next one by then.
      await pause(SECOND / 2, signal);
      continue;
    }
    const times = ASK[failures] ?? Infinity;
    failures += 1;
    if (await ask(api, id, times, { show, by, signal })) {
      return;
    }
  }
}

/** Open a WebSocket; resolve when it is closed, with why and whether it told anything. */
function listen(api, id, token, { show, by, signal }) {
  return new Promise((resolve) => {
    const socket = new WebSocket(api.socket(`jobs/${id}/watch`));
    let told = false;
    let ended = false;

    function finish(code) {
      clearTimeout(timer);
      signal.removeEventListener("abort", leave);
      socket.onmessage = socket.onclose = null;
      // To close one that is not open yet is a warning in the browser's console.
      socket.onopen = () => socket.close();
      if (socket.readyState === WebSocket.OPEN) {
        socket.close();
      }
      resolve({ code, told, ended });
    }
    const leave = () => finish(NORMAL);
    const timer = setTimeout(leave, PATIENCE);
    signal.addEventListener("abort", leave);

    socket.onopen = () => socket.send(JSON.stringify({ access_token: token }));
    socket.onmessage = ({ data }) => {
      clearTimeout(timer);
      const job = JSON.parse(data);
      told = true;
      ended = hasEnded(job);
      by("websocket");
      show(job);
    };
    socket.onclose = ({ code }) => finish(code);
  });
}

/** Ask for the job each second; resolve to whether it has ended. */
async function ask(api, id, times, { show, by, signal }) {
  for (let count = 0; count < times && !signal.aborted; count += 1) {
    const job = await patiently(() => api.get(`jobs/${id}`, { signal }), by, signal);
    if (signal.aborted) {
      return true;
    }
    by("asking");
    show(job);
    if (hasEnded(job)) {
      return true;
    }
    await pause(SECOND, signal);
  }
  return signal.aborted;
}

/** Do something that needs the server; while it cannot be reached, again each second. */
async function patiently(action, by, signal) {
  while (!signal.aborted) {
    try {
      return await action();
    } catch (error) {
      if (signal.aborted) {
        break;
      }
      if (error instanceof SessionEnded || (error.status > 0 && error.status < 500)) {
        throw error;
      }
      by("lost");
      await pause(SECOND, signal);
    }
  }
  return null;
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
