// Asks the API, in the name of who is logged in.
//
// The access token is kept in memory; the refresh token in the tab's session storage, so that a
// reload does not end the log-in and closing the tab does.

/** An answer that is not the one hoped for, or none at all (status 0). */
export class ApiError extends Error {
  constructor(status, message, fields = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    /** Why a value was refused, by the field's name: lists of sentences. */
    this.fields = fields;
  }
}

/** The log-in is over. Who asked need not do anything: `onEnd` shows the log-in. */
export class SessionEnded extends Error {}

/**
 * @param {object} options
 * @param {string} options.url of the API, with a slash at its end
 * @param {Storage} options.storage for the refresh token
 * @param {() => void} options.onEnd called when a log-in has ended by itself
 */
export function createApi({ url, storage, onEnd }) {
  // Applications mounted at several places of one site share the storage.
  const key = `refresh_token ${new URL(url).pathname}`;
  let access = null;
  let refreshing = null;
  let me = null;

  function isLoggedIn() {
    return storage.getItem(key) !== null;
  }

  function forget() {
    storage.removeItem(key);
    access = me = null;
  }

  function end() {
    if (isLoggedIn()) {
      forget();
      onEnd();
    }
    throw new SessionEnded();
  }

  /** Get a new access token; whoever asks meanwhile waits for the same one. */
  function refresh() {
    refreshing ??= renew().finally(() => {
      refreshing = null;
    });
    return refreshing;
  }

  async function renew() {
    const token = storage.getItem(key);
    if (token === null) {
      end();
    }
    const answer = await send("POST", "auth/refresh", { token });
    if (storage.getItem(key) !== token) {
      throw new SessionEnded(); // Logged out meanwhile.
    }
    if (answer.status === 401) {
      end();
    }
    access = (await read(answer)).access_token;
    return access;
  }

  async function send(method, path, { body, token, signal } = {}) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
    }
    if (token) {
      headers.Authorization = `Bearer ${token}`;
    }
    try {
      return await fetch(new URL(path, url), { method, headers, body: JSON.stringify(body), signal });
    } catch (error) {
      if (signal?.aborted) {
        throw error;
      }
      throw new ApiError(0, "The server cannot be reached. Try again in a moment.");
    }
  }

  /** Ask as who is logged in. An access token that is not good any more is renewed, once. */
  async function ask(method, path, { body, signal } = {}) {
    const token = access ?? (await refresh());
    let answer = await send(method, path, { body, token, signal });
    if (answer.status === 401) {
      const newer = access !== null && access !== token ? access : await refresh();
      answer = await send(method, path, { body, token: newer, signal });
      if (answer.status === 401) {
        end();
      }
    }
    return read(answer);
  }

  return {
    isLoggedIn,
    end,
    get: (path, options) => ask("GET", path, options),
    post: (path, body) => ask("POST", path, { body }),
    put: (path, body) => ask("PUT", path, { body }),

    /** Return an access token, as a WebSocket wants it; a new one if the old one was refused. */
    token: async ({ renew = false } = {}) => (renew ? refresh() : (access ?? refresh())),

    /** Return the address of a WebSocket. */
    socket(path) {
      const address = new URL(path, url);
      address.protocol = address.protocol.replace("http", "ws");
      return address.href;
    },

    async register(username, password) {
      return read(await send("POST", "users", { body: { username, password } }));
    },

    async logIn(username, password) {
      const tokens = await read(await send("POST", "auth/login", { body: { username, password } }));
      forget();
      storage.setItem(key, tokens.refresh_token);
      access = tokens.access_token;
    },

    /** End this log-in, here in any case. */
    async logOut() {
      try {
        const token = access ?? (await refresh());
        await send("POST", "auth/logout", { token });
      } catch {
        // The server cannot be reached, or has ended the log-in already.
      }
      forget();
    },

    /** Return who is logged in. */
    async me() {
      me ??= await ask("GET", "users/me");
      return me;
    },
  };
}

/** Return what an answer holds. */
async function read(answer) {
  let body = null;
  if (answer.status !== 204 && answer.headers.get("Content-Type")?.startsWith("application/json")) {
    body = await answer.json();
  }
  if (answer.ok) {
    return body;
  }
  const message = body?.message ?? `The server cannot answer now (${answer.status}). Try again in a moment.`;
  throw new ApiError(answer.status, message, body?.errors?.json);
}
