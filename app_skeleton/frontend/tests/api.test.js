// Against a server that gives and takes tokens as the application does.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { ApiError, SessionEnded, createApi } from "../src/api.js";

let url;
let server;
let good; // Which tokens the server takes.
let asked; // What it was asked.
let ends;
let stored;

const storage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, value) => stored.set(key, value),
  removeItem: (key) => stored.delete(key),
};

before(async () => {
  server = createServer((request, response) => {
    const token = request.headers.authorization?.replace("Bearer ", "");
    asked.push(`${request.method} ${request.url} ${token ?? ""}`.trim());
    const answer = (status, body, type = "application/json") => {
      response.writeHead(status, { "Content-Type": type });
      response.end(status === 204 ? "" : body);
    };
    if (request.url === "/mount/api/auth/login") {
      good = new Set(["refresh", "access-0"]);
      return answer(200, '{"access_token": "access-0", "refresh_token": "refresh"}');
    }
    if (request.url === "/mount/api/users") {
      return answer(422, '{"message": "no", "errors": {"json": {"username": ["Too short."]}}}');
    }
    if (request.url === "/mount/api/broken") {
      return answer(502, "<h1>Bad Gateway</h1>", "text/html");
    }
    if (!good.has(token)) {
      return answer(401, '{"message": "The token has expired."}');
    }
    if (request.url === "/mount/api/auth/refresh") {
      const name = `access-${asked.length}`;
      good.add(name);
      return answer(200, JSON.stringify({ access_token: name }));
    }
    return request.method === "GET" ? answer(200, '{"username": "somebody"}') : answer(204);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${server.address().port}/mount/api/`;
});

after(() => {
  server.close();
  server.closeAllConnections();
});

beforeEach(() => {
  good = new Set();
  asked = [];
  ends = 0;
  stored = new Map();
});

function make() {
  return createApi({ url, storage, onEnd: () => (ends += 1) });
}

/** One whose server cannot be reached: nothing listens on port 9 of this machine. */
function makeAway() {
  return createApi({ url: "http://127.0.0.1:9/mount/api/", storage, onEnd: () => (ends += 1) });
}

test("only the refresh token is stored, under a name of the place", async () => {
  await make().logIn("somebody", "a password");
  assert.deepEqual([...stored], [["refresh_token /mount/api/", "refresh"]]);
});

test("after a reload the log-in goes on, and all who ask wait for the same new token", async () => {
  await make().logIn("somebody", "a password");
  asked = [];
  const api = make();
  await Promise.all([api.get("jobs"), api.get("users/me"), api.token()]);
  assert.equal(asked.filter((line) => line.includes("refresh")).length, 1);
  assert.equal(asked.length, 3);
});

test("an access token that is refused is renewed once, and the question asked again", async () => {
  const api = make();
  await api.logIn("somebody", "a password");
  good.delete("access-0");
  asked = [];
  assert.deepEqual(await api.get("jobs"), { username: "somebody" });
  assert.deepEqual(asked, [
    "GET /mount/api/jobs access-0",
    "POST /mount/api/auth/refresh refresh",
    "GET /mount/api/jobs access-2",
  ]);
  assert.equal(ends, 0);
});

test("a log-in that has ended is told once and forgotten", async () => {
  const api = make();
  await api.logIn("somebody", "a password");
  good.clear();
  const answers = await Promise.allSettled([api.get("jobs"), api.get("users/me")]);
  assert.ok(answers.every(({ reason }) => reason instanceof SessionEnded));
  assert.equal(ends, 1);
  assert.equal(stored.size, 0);
  assert.equal(api.isLoggedIn(), false);
});

test("a server that is away does not end the log-in", async () => {
  const api = make();
  await api.logIn("somebody", "a password");
  const away = makeAway();
  await assert.rejects(away.get("jobs"), (error) => error instanceof ApiError && error.status === 0);
  await assert.rejects(api.get("broken"), (error) => error.status === 502 && error.message.includes("502"));
  assert.equal(ends, 0);
  assert.ok(api.isLoggedIn() && away.isLoggedIn());
});

test("logging out forgets both tokens, also where the server is away", async () => {
  const api = make();
  await api.logIn("somebody", "a password");
  await api.logOut();
  assert.equal(asked.at(-1), "POST /mount/api/auth/logout access-0");
  assert.equal(stored.size, 0);
  await assert.rejects(api.get("jobs"), SessionEnded);
  stored.set("refresh_token /mount/api/", "refresh");
  await makeAway().logOut();
  assert.equal(stored.size, 0);
  assert.equal(ends, 0);
});

test("an answer without a body is none", async () => {
  const api = make();
  await api.logIn("somebody", "a password");
  assert.equal(await api.put("users/me/password", {}), null);
});

test("a refused value is told by its field", async () => {
  await assert.rejects(make().register("x", "y"), (error) => {
    assert.deepEqual(error.fields, { username: ["Too short."] });
    return error.status === 422;
  });
});

test("a WebSocket's address is beside the API's", () => {
  assert.equal(make().socket("jobs/1/watch"), `${url.replace("http", "ws")}jobs/1/watch`);
});
