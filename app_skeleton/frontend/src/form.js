// A form whose fields say what is wrong with them, whether the browser finds it or the server.

import { ApiError, SessionEnded } from "./api.js";
import { h } from "./dom.js";

/**
 * @param {object} options
 * @param {object[]} options.fields name, label, hint, value, and attributes of the input
 * @param {string} options.submit what the button says
 * @param {(values: object) => Promise<void>} options.send may throw ApiError
 */
export function form({ fields, submit, send }) {
  const rows = fields.map(row);
  const alert = h("p", { class: "error", role: "alert", hidden: true, tabindex: -1 });
  const button = h("button", { type: "submit" }, submit);
  const element = h("form", { novalidate: true }, ...rows.map(({ element }) => element), alert, button);
  let busy = false;

  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) {
      return;
    }
    complain("");
    rows.forEach((row) => row.complain(row.check()));
    if (focusOnWrong()) {
      return;
    }
    // A button that is disabled would lose the keyboard's focus.
    busy = true;
    button.setAttribute("aria-disabled", "true");
    try {
      await send(Object.fromEntries(rows.map(({ name, value }) => [name, value()])));
    } catch (error) {
      refuse(error);
    } finally {
      busy = false;
      button.removeAttribute("aria-disabled");
    }
  });

  function complain(text) {
    alert.textContent = text;
    alert.hidden = !text;
  }

  function focusOnWrong() {
    const wrong = rows.find((row) => row.isWrong());
    wrong?.focus();
    return wrong !== undefined;
  }

  function refuse(error) {
    if (error instanceof SessionEnded) {
      return;
    }
    if (!(error instanceof ApiError)) {
      complain("This did not work. Reload the page and try again.");
      throw error;
    }
    const others = { ...error.fields };
    for (const row of rows) {
      row.complain(others[row.name]?.join(" ") ?? "");
      delete others[row.name];
    }
    const why = Object.values(others).flat().join(" ");
    if (why || !focusOnWrong()) {
      complain(why || error.message);
    }
  }

  return element;
}

/** One field: label, input, hint, and what is wrong with it. */
function row({ name, label, hint, type = "text", value = "", ...attributes }) {
  const id = `field-${name}`;
  const input = h("input", {
    id,
    name,
    type,
    value,
    ...attributes,
  });
  const help = hint ? h("p", { id: `${id}-hint`, class: "hint" }, hint) : null;
  const error = h("p", { id: `${id}-error`, class: "error", "aria-live": "polite", hidden: true });

  function describe(...parts) {
    input.setAttribute("aria-describedby", parts.map((part) => part.id).join(" "));
  }
  describe(...(help ? [help, error] : [error]));

  return {
    name,
    element: h(
      "div",
      { class: "field" },
      h("label", { for: id }, label),
      input,
      help,
      error,
    ),
    value: () => (type === "number" ? input.valueAsNumber : input.value),
    focus: () => input.focus(),
    isWrong: () => !error.hidden,
    check: () => (input.validity.patternMismatch ? hint : input.validationMessage),
    complain(text) {
      error.textContent = text;
      error.hidden = !text;
      if (help) {
        // Not the same sentence twice.
        help.hidden = text === hint;
        describe(...(help.hidden ? [error] : [help, error]));
      }
      if (text) {
        input.setAttribute("aria-invalid", "true");
      } else {
        input.removeAttribute("aria-invalid");
      }
    },
  };
}
