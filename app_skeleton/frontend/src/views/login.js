import { h, heading } from "../dom.js";
import { form } from "../form.js";

export function login({ api, go, next = "" }) {
  const element = h(
    "section",
    {},
    heading("Log in"),
    form({
      fields: [
        { name: "username", label: "Name", required: true, maxlength: 128, autocomplete: "username", autocapitalize: "none", spellcheck: "false" },
        { name: "password", label: "Password", type: "password", required: true, maxlength: 128, autocomplete: "current-password" },
      ],
      submit: "Log in",
      async send({ username, password }) {
        await api.logIn(username, password);
        go(next, { replace: true });
      },
    }),
    h("p", { class: "muted" }, "New here? ", h("a", { href: "register" }, "Register"), "."),
  );
  return { title: "Log in", element };
}
