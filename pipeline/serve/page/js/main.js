// Puts the page together: who is signed in, the frame around every view, and which view is shown.

import { Api, isAbort } from "./api.js";
import { button, h } from "./dom.js";
import { ZONE } from "./format.js";
import { Router } from "./router.js";
import { Status, empty, failure } from "./status.js";
import { cameraView } from "./views/camera.js";
import { exportsView } from "./views/exports.js";
import { searchView } from "./views/search.js";
import { settingsView } from "./views/settings.js";
import { signIn } from "./views/signin.js";
import { storageView } from "./views/storage.js";
import { wallView } from "./views/wall.js";

const ROUTES = [
  ["", wallView],
  ["camera/:id", cameraView],
  ["search", searchView],
  ["exports", exportsView],
  ["storage", storageView],
  ["settings", settingsView],
  ["settings/:part", settingsView],
];
const LINKS = [["", "Cameras"], ["search", "Search"], ["exports", "Exports"], ["storage", "Storage"], ["settings", "Settings"]];

const api = new Api();
const status = new Status();
const main = h("main", { id: "main", tabindex: -1 });
const header = h("header", { class: "top" });
const app = { api, status, me: null };
const router = new Router(ROUTES, show);

api.addEventListener("gone", () => status.gone());
api.addEventListener("back", () => status.back());
api.addEventListener("signedout", () => { if (app.me) askToSignIn("Your session has ended. Sign in again."); });
// What no view has caught is told rather than lost in the console.
addEventListener("unhandledrejection", (event) => {
  if (!isAbort(event.reason)) status.fault(event.reason);
  event.preventDefault();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address bar holds the route
  main.focus();
});
document.body.append(header, status.bar, main, status.notices);
start();

async function start() {
  try {
    app.me = await api.me();
  } catch (error) {
    if (error.status === 401) askToSignIn();
    else main.replaceChildren(failure(error, start));
    return;
  }
  router.go();
}

function askToSignIn(why) {
  app.me = null;
  router.leave();
  header.replaceChildren(brand());
  document.title = "Sign in – Fovea";
  main.replaceChildren(signIn(api, why, (me) => {
    app.me = me;
    router.go();
  }));
}

function show({ view, params, query, path }, signal) {
  if (!app.me) return;
  drawHeader(path[0]);
  const link = LINKS.find(([name]) => name === path[0]);
  document.title = `${params.id ?? link?.[1] ?? "Not found"} – Fovea`;
  main.replaceChildren(view ? view({ app, params, query, signal }) : h("section", { class: "view" }, h("h1", {}, "Not found"), empty("There is no such page.")));
  // Focus follows the route, as it would follow a page load; not on the first view, where the browser has just done so.
  if (signal.reason === undefined && drawn++) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}
let drawn = 0;

const brand = () => h("a", { class: "brand", href: "#/" }, "Fovea");

function drawHeader(current) {
  const links = LINKS.map(([path, label]) => {
    const here = path === current || (path === "" && current === "camera");
    return h("a", { href: `#/${path}`, "aria-current": here ? "page" : null }, label);
  });
  header.replaceChildren(
    brand(),
    h("nav", { "aria-label": "Main" }, links),
    h("div", { class: "who" },
      h("span", { class: "zone", title: "All times are in this time zone" }, ZONE),
      h("span", { title: `Role: ${app.me.role}` }, app.me.user),
      button("Sign out", signOut, { class: "plain" })),
  );
}

async function signOut() {
  try {
    await api.logout();
  } catch (error) {
    if (error.status !== 401) return status.fault(error);
  }
  askToSignIn();
}
