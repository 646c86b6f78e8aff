import { SessionEnded } from "../api.js";
import { h, heading, moment, trouble } from "../dom.js";
import { hasEnded, watch } from "../watch.js";

const WAYS = {
  websocket: "Shown as it happens.",
  asking: "Asked for each second.",
  lost: "The server cannot be reached now. Trying again each second…",
};

export function job({ api, params, signal }) {
  const body = h("div", {}, h("p", { class: "muted" }, "Loading…"));
  // Read out by a screen reader at each quarter, not at each number.
  const spoken = h("p", { class: "spoken", role: "status" });
  const way = h("p", { class: "muted", id: "way" });
  const bar = h("progress", { max: 100, value: 0, "aria-label": "Progress" });
  let path = `jobs/${params.id}`;

  function show(job) {
    bar.value = job.progress;
    const words = [job.state];
    if (job.state === "running") {
      words.push(`${Math.floor(job.progress / 25) * 25} %`);
    }
    if (spoken.textContent !== words.join(", ")) {
      spoken.textContent = words.join(", ");
    }
    body.replaceChildren(
      h("p", { class: "now" }, h("span", { class: "state", "data-state": job.state }, job.state), h("span", { class: "number" }, `${job.progress} %`)),
      bar,
      details(job),
    );
    if (hasEnded(job)) {
      way.remove();
    }
  }

  function by(how) {
    way.textContent = WAYS[how];
    way.dataset.way = how;
  }

  async function load() {
    try {
      const job = await api.get(path, { signal });
      show(job);
      if (!hasEnded(job)) {
        await watch(api, job.id, { show, by, signal });
      }
    } catch (error) {
      if (!signal.aborted && !(error instanceof SessionEnded)) {
        body.replaceChildren(trouble(error, error.status === 404 ? null : load));
        way.remove();
      }
    }
  }
  load();

  const element = h("section", {}, heading("Job"), spoken, body, way, h("p", {}, h("a", { href: "./" }, "All jobs")));
  return { title: "Job", element };
}

function details(job) {
  const pairs = [["Started", moment(job.created)]];
  if (job.finished) {
    pairs.push(["Finished", moment(job.finished)]);
  }
  for (const [name, value] of Object.entries(job.result ?? {})) {
    pairs.push([`Result: ${name}`, String(value)]);
  }
  if (job.error) {
    pairs.push(["Error", job.error]);
  }
  pairs.push(["Number", h("code", {}, job.id)]);
  return h("dl", {}, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
