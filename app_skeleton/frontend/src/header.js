// The line above every view: where one can go, and who is logged in.

import { h } from "./dom.js";

export function header({ api, path, logOut, signal }) {
  const link = (to, text) => h("a", { href: to || "./", "aria-current": path === to && "page" }, text);
  if (!api.isLoggedIn()) {
    return [nav(h("a", { href: "../" }, "First page"), h("span", { class: "gap" }), link("login", "Log in"), link("register", "Register"))];
  }
  const name = h("span", { class: "who" });
  api.me().then(
    ({ username }) => {
      if (!signal.aborted) {
        name.textContent = username;
      }
    },
    // The view asks as well, and says what is wrong.
    () => {},
  );
  return [
    nav(
      h("a", { href: "../" }, "First page"),
      link("", "Jobs"),
      h("span", { class: "gap" }),
      name,
      link("password", "Password"),
      h("button", { type: "button", class: "quiet", onclick: logOut }, "Log out"),
    ),
  ];
}

function nav(...children) {
  return h("nav", { "aria-label": "Main" }, ...children);
}
