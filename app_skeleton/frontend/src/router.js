// Which view an address means. Addresses are relative to the page's base, wherever it is mounted.

/**
 * Return a function that finds the route of a path.
 *
 * @param {{path: string}[]} routes whose paths may have parts like `:id`
 * @param {object} otherwise the route of all other paths
 */
export function createFinder(routes, otherwise) {
  const table = routes.map((route) => {
    const parts = route.path.split("/").map((part) => (part.startsWith(":") ? `(?<${part.slice(1)}>[\\w-]+)` : part));
    return { route, pattern: new RegExp(`^${parts.join("/")}/?$`) };
  });
  return (path) => {
    for (const { route, pattern } of table) {
      const match = pattern.exec(path);
      if (match) {
        return { route, params: { ...match.groups } };
      }
    }
    return { route: otherwise, params: {} };
  };
}

/**
 * @param {object} options
 * @param {string} options.base the page's base address
 * @param {object[]} options.routes
 * @param {Function} options.missing the view of an address that is none
 * @param {Function} options.show called with each address that is gone to
 */
export function createRouter({ base, routes, missing, show }) {
  const top = new URL(base);
  const find = createFinder(routes, { view: missing });

  /** Return the current path below the base. */
  function path() {
    return location.pathname.slice(top.pathname.length);
  }

  function arrive(more = {}) {
    show({ ...find(path()), path: path(), ...more });
  }

  /** Go to a path below the base; `next` is where a log-in leads to, and outlives a reload. */
  function go(to, { replace = false, next, message } = {}) {
    history[replace ? "replaceState" : "pushState"]({ next }, "", new URL(to, top));
    arrive({ message });
  }

  function follow(event) {
    const link = event.target.closest?.("a[href]");
    const other = event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    if (!link || other || link.target || !link.href.startsWith(top.href)) {
      return;
    }
    event.preventDefault();
    go(link.href.slice(top.href.length));
  }

  return {
    go,
    path,
    start() {
      document.addEventListener("click", follow);
      addEventListener("popstate", () => arrive());
      arrive({ first: true });
    },
  };
}
