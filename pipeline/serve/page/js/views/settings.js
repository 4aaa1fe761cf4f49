// Settings: one part at a time. What a user may not change is not offered; the server refuses it anyway.

import { h } from "../dom.js";
import { empty } from "../status.js";
import { auditPart } from "./settings/audit.js";
import { camerasPart } from "./settings/cameras.js";
import { masksPart } from "./settings/masks.js";
import { passwordPart } from "./settings/password.js";
import { tokensPart } from "./settings/tokens.js";
import { usersPart } from "./settings/users.js";

const PARTS = [
  { name: "cameras", label: "Cameras", part: camerasPart, admin: true },
  { name: "masks", label: "Privacy masks", part: masksPart, admin: true },
  { name: "users", label: "Users", part: usersPart, admin: true },
  { name: "tokens", label: "Tokens", part: tokensPart },
  { name: "password", label: "Password", part: passwordPart },
  { name: "audit", label: "Audit log", part: auditPart, admin: true },
];

export function settingsView({ app, params, query, signal }) {
  const admin = app.me.role === "admin";
  const open = PARTS.filter((part) => admin || !part.admin);
  const chosen = params.part ? PARTS.find(({ name }) => name === params.part) : open[0];
  const links = open.map(({ name, label }) => h("a", { href: `#/settings/${name}`, "aria-current": name === chosen?.name ? "page" : null }, label));
  const body = !chosen ? empty("There are no such settings.")
    : open.includes(chosen) ? chosen.part({ app, query, signal }) : empty("Only an administrator may change this.");
  return h("section", { class: "view settings", "aria-labelledby": "page-title" },
    h("div", { class: "head" }, h("h1", { id: "page-title" }, "Settings")),
    h("nav", { class: "tabs", "aria-label": "Settings" }, links), body);
}
