import { h, heading } from "../dom.js";

export function missing() {
  const element = h("section", {}, heading("No such page"), h("p", {}, h("a", { href: "./" }, "Back to the jobs")));
  return { title: "No such page", element };
}
