import { ApiError } from "../api.js";
import { h, heading } from "../dom.js";
import { form } from "../form.js";

export function register({ api, go }) {
  const element = h(
    "section",
    {},
    heading("Register"),
    form({
      fields: [
        {
          name: "username",
          label: "Name",
          hint: "3 to 32 of a-z, 0-9, _ . and -, beginning with a letter.",
          required: true,
          pattern: "[a-z][a-z0-9_.\\-]{2,31}",
          autocomplete: "username",
          autocapitalize: "none",
          spellcheck: "false",
        },
        {
          name: "password",
          label: "Password",
          hint: "10 characters or more.",
          type: "password",
          required: true,
          minlength: 10,
          maxlength: 128,
          autocomplete: "new-password",
        },
      ],
      submit: "Register",
      async send({ username, password }) {
        try {
          await api.register(username, password);
        } catch (error) {
          throw error.status === 409 ? new ApiError(409, error.message, { username: [error.message] }) : error;
        }
        await api.logIn(username, password);
        go("", { replace: true, message: `Welcome, ${username}.` });
      },
    }),
    h("p", { class: "muted" }, "Registered already? ", h("a", { href: "login" }, "Log in"), "."),
  );
  return { title: "Register", element };
}
