// Puts the parts together: who is logged in, which view is shown, what the header offers.

import { createApi } from "./api.js";
import { header } from "./header.js";
import { createRouter } from "./router.js";
import { job } from "./views/job.js";
import { jobs } from "./views/jobs.js";
import { login } from "./views/login.js";
import { missing } from "./views/missing.js";
import { password } from "./views/password.js";
import { register } from "./views/register.js";

// The views by their addresses below the base. `guest`: for those who are not logged in.
const ROUTES = [
  { path: "", view: jobs },
  { path: "jobs/:id", view: job },
  { path: "password", view: password },
  { path: "login", view: login, guest: true },
  { path: "register", view: register, guest: true },
];

const place = document.getElementById("view");
const notice = document.getElementById("notice");

const base = document.baseURI;
const api = createApi({
  // The application's own place: the front end lies below it.
  url: new URL("../api/", base).href,
  storage: sessionStorage,
  onEnd: () => logInAgain("Your session has ended. Log in again."),
});
const router = createRouter({ base, routes: ROUTES, missing, show });

let leaving = new AbortController();

/** Show the view of an address; `message` is what just happened, if anything did. */
function show({ route, params, path, message = "", first }) {
  leaving.abort();
  leaving = new AbortController();
  if (!route.guest && !api.isLoggedIn()) {
    router.go("login", { replace: true, next: path, message: message || (path ? "Log in to see this page." : "") });
    return;
  }
  if (route.guest && api.isLoggedIn()) {
    router.go("", { replace: true });
    return;
  }
  const view = route.view({ api, params, go: router.go, next: history.state?.next, signal: leaving.signal });
  document.title = view.title === "Jobs" ? "Jobs" : `${view.title} – Jobs`;
  document.getElementById("header").replaceChildren(...header({ api, path, logOut, signal: leaving.signal }));
  notice.textContent = message;
  place.replaceChildren(view.element);
  // A screen reader and the keyboard go on where the new view begins.
  if (!first) {
    place.querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function logInAgain(message) {
  router.go("login", { replace: true, next: router.path(), message });
}

async function logOut() {
  await api.logOut();
  router.go("login", { message: "You are logged out." });
}

router.start();
