import { SessionEnded } from "../api.js";
import { h, heading, moment, trouble } from "../dom.js";
import { form } from "../form.js";
import { hasEnded } from "../watch.js";

const AGAIN = 2000;

export function jobs({ api, go, signal }) {
  const list = h("div", {}, h("p", { class: "muted" }, "Loading…"));
  const start = form({
    fields: [
      {
        name: "seconds",
        label: "Seconds",
        hint: "How long to count, 1 to 60.",
        type: "number",
        inputmode: "numeric",
        value: 5,
        min: 1,
        max: 60,
        required: true,
      },
    ],
    submit: "Start",
    async send({ seconds }) {
      const job = await api.post("jobs", { kind: "count", seconds });
      go(`jobs/${job.id}`);
    },
  });

  async function load() {
    try {
      const found = await api.get("jobs", { signal });
      list.replaceChildren(found.length ? table(found) : h("p", { class: "muted" }, "You have started no job yet."));
      if (!found.every(hasEnded)) {
        const timer = setTimeout(load, AGAIN);
        signal.addEventListener("abort", () => clearTimeout(timer));
      }
    } catch (error) {
      if (!signal.aborted && !(error instanceof SessionEnded)) {
        list.replaceChildren(trouble(error, load));
      }
    }
  }
  load();

  const element = h("section", {}, heading("Jobs"), h("h2", {}, "Start a job"), start, h("h2", {}, "Your jobs"), list);
  return { title: "Jobs", element };
}

function table(found) {
  const head = h("thead", {}, h("tr", {}, ...["Started", "State", "Progress"].map((text) => h("th", { scope: "col" }, text))));
  const rows = found.map((job) =>
    h(
      "tr",
      {},
      h("td", {}, h("a", { href: `jobs/${job.id}` }, moment(job.created))),
      h("td", {}, h("span", { class: "state", "data-state": job.state }, job.state)),
      h("td", { class: "number" }, `${job.progress} %`),
    ),
  );
  return h("table", {}, head, h("tbody", {}, ...rows));
}
