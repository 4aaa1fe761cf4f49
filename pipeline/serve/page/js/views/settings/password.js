// One's own password.

import { field, h } from "../../dom.js";
import { formLine } from "../../status.js";
import { form } from "./lists.js";

export function passwordPart({ app }) {
  const old = h("input", { type: "password", required: true, autocomplete: "current-password" });
  const fresh = h("input", { type: "password", required: true, autocomplete: "new-password" });
  const again = h("input", { type: "password", required: true, autocomplete: "new-password" });
  const line = formLine();
  const submit = h("button", { class: "main" }, "Change password");

  async function send() {
    if (fresh.value !== again.value) throw new Error("The two new passwords differ.");
    await app.api.changePassword(old.value, fresh.value);
    for (const input of [old, fresh, again]) input.value = "";
    line.say("Your password is changed; all your other sessions have ended.");
  }

  return form({ class: "card form narrow" }, { line, submit, send }, h("h2", {}, "Password"),
    h("input", { type: "text", name: "username", autocomplete: "username", value: app.me.user, hidden: true }),
    field("Old password", old), field("New password", fresh), field("New password again", again), submit, line.element);
}
