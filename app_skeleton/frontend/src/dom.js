// Makes elements. Text becomes a text node, never markup, whoever wrote it.

/**
 * @param {string} tag
 * @param {object} properties attributes by their names; `on...` are listeners; false and undefined are left out
 * @param {...(Node | string | number | null)} children
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** A view's heading, which takes the focus when the view is shown. */
export function heading(...text) {
  return h("h1", { tabindex: -1 }, ...text);
}

const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A moment as people there write it. */
export function moment(text) {
  return h("time", { datetime: text }, moments.format(new Date(text)));
}

/** Why something could not be had, with a button to try again. */
export function trouble(error, again) {
  return h(
    "div",
    { class: "error", role: "alert" },
    h("p", {}, error.message),
    again ? h("button", { type: "button", class: "quiet", onclick: again }, "Try again") : null,
  );
}
