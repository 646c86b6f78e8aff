import { defineConfig } from "vite";

// Where `flask run` listens; `npm run dev` hands everything but the front end to it.
const FLASK = "http://127.0.0.1:5000";
const MOUNT = "/app/";

// Flask puts this line into the built page, with the place the application is mounted at.
const base = {
  name: "base",
  apply: "serve",
  transformIndexHtml: {
    order: "pre",
    handler: (html) => html.replace("<head>", `<head><base href="${MOUNT}">`),
  },
};

export default defineConfig(({ command }) => ({
  // Built files are named relative to that base: they work wherever the application is mounted.
  base: command === "serve" ? MOUNT : "./",
  plugins: [base],
  build: {
    // The page's policy allows files of the site alone: nothing is put into the page or as data:.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { "^/(?!app/)": { target: FLASK, ws: true } },
  },
}));
