// Tokens: how programs sign in. A token's secret is shown once, when it is made.

import { button, confirm, field, h, table } from "../../dom.js";
import { formatTime } from "../../format.js";
import { formLine } from "../../status.js";
import { form, loaded } from "./lists.js";

export function tokensPart({ app, signal }) {
  const name = h("input", { required: true, maxlength: 64, autocomplete: "off" });
  const line = formLine();
  const submit = h("button", { class: "main" }, "Make a token");
  const secret = h("div", { role: "status" });
  const list = loaded({ signal, load: () => app.api.tokens(signal), draw: (tokens) => (tokens.length
    ? table("Tokens", [{ label: "Name" }, { label: "User" }, { label: "Made" }, { label: "Last used" }, { label: "" }], tokens.map((token) => [
      token.name, token.user, formatTime(token.made), token.used ? formatTime(token.used) : "Never",
      h("div", { class: "row end" }, button("Remove", () => remove(token), { class: "plain", "aria-label": `Remove ${token.name}` })),
    ])) : h("p", { class: "hint" }, "No tokens.")) });

  async function send() {
    const made = await app.api.addToken({ name: name.value });
    name.value = "";
    line.say("");
    secret.replaceChildren(h("div", { class: "secret" },
      h("p", {}, "Copy it now: it is not shown again."), h("code", { tabindex: 0 }, made.token),
      button("Copy", () => navigator.clipboard?.writeText(made.token).then(() => app.status.say("Copied."), (error) => app.status.fault(error)))));
    list.again();
  }

  async function remove(token) {
    if (!await confirm(`Remove ${token.name}? What uses it is signed out at once.`, "Remove")) return;
    try {
      await app.api.removeToken(token.id);
    } catch (error) {
      app.status.fault(error);
    }
    list.again();
  }

  return h("div", { class: "card" }, h("h2", {}, "Tokens"),
    h("p", { class: "hint" }, "A program that sends ", h("code", {}, "Authorization: Bearer …"), " may do what you may."),
    list.element, form({ class: "fields" }, { line, submit, send }, field("Name", name), submit), line.element, secret);
}
