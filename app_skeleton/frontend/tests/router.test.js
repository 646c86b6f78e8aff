import assert from "node:assert/strict";
import { test } from "node:test";

import { createFinder } from "../src/router.js";

const home = { path: "" };
const one = { path: "jobs/:id" };
const list = { path: "jobs" };
const none = {};
const find = createFinder([home, one, list], none);

test("a path leads to its route, with or without a slash at its end", () => {
  assert.deepEqual(find(""), { route: home, params: {} });
  assert.deepEqual(find("jobs"), { route: list, params: {} });
  assert.deepEqual(find("jobs/"), { route: list, params: {} });
  assert.deepEqual(find("jobs/a-1"), { route: one, params: { id: "a-1" } });
});

test("a path that is only like one leads nowhere", () => {
  for (const path of ["job", "jobs/a/b", "xjobs", "jobs/a%2Fb", "jobs//", "jobs/../login"]) {
    assert.equal(find(path).route, none, path);
  }
});
