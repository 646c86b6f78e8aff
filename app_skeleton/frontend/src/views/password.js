import { ApiError } from "../api.js";
import { h, heading } from "../dom.js";
import { form } from "../form.js";

export function password({ api, go }) {
  // For password managers: whose password this is.
  const who = h("input", { name: "username", autocomplete: "username", hidden: true });
  api.me().then(
    ({ username }) => {
      who.value = username;
    },
    () => {},
  );
  const element = h(
    "section",
    {},
    heading("Change your password"),
    h("p", { class: "muted" }, "You stay logged in here. All your other log-ins end."),
    form({
      fields: [
        {
          name: "current_password",
          label: "Current password",
          type: "password",
          required: true,
          maxlength: 128,
          autocomplete: "current-password",
        },
        {
          name: "new_password",
          label: "New password",
          hint: "10 characters or more.",
          type: "password",
          required: true,
          minlength: 10,
          maxlength: 128,
          autocomplete: "new-password",
        },
      ],
      submit: "Change password",
      async send(values) {
        try {
          await api.put("users/me/password", values);
        } catch (error) {
          throw error.status === 403 ? new ApiError(403, error.message, { current_password: [error.message] }) : error;
        }
        go("", { message: "Your password is changed." });
      },
    }),
  );
  element.querySelector("form").prepend(who);
  return { title: "Change your password", element };
}
