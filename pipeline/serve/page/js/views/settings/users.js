// Who may sign in, as what, and which cameras they see.

import { button, check, confirm, field, h, select, table } from "../../dom.js";
import { formLine } from "../../status.js";
import { dialog, form, loaded } from "./lists.js";

const ROLES = [["viewer", "Viewer: watches and exports"], ["admin", "Administrator: may do everything"]];

export function usersPart({ app, signal }) {
  const list = loaded({ signal, load: () => Promise.all([app.api.users(signal), app.api.cameras(signal)]), draw: ([users, cameras], again) => {
    const names = cameras.map(({ id }) => id);
    return [
      table("Users", [{ label: "User" }, { label: "Role" }, { label: "Cameras" }, { label: "" }], users.map((user) => [
        user.user, user.role === "admin" ? "Administrator" : "Viewer", user.cameras === null ? "All" : user.cameras.join(", ") || "None",
        h("div", { class: "row end" }, button("Change", () => edit({ app, user, names, saved: again })),
          user.user === app.me.user ? null : button("Remove", () => remove(user.user), { class: "plain" })),
      ])),
      button("Add a user", () => edit({ app, user: null, names, saved: again }), { class: "main" }),
    ];
  } });
  return h("div", { class: "card" }, h("h2", {}, "Users"), list.element);

  async function remove(name) {
    if (!await confirm(`Remove ${name}? Their sessions and tokens end at once.`, "Remove")) return;
    try {
      await app.api.removeUser(name);
    } catch (error) {
      app.status.fault(error);
    }
    list.again();
  }
}

function edit({ app, user, names, saved }) {
  const name = h("input", { required: true, disabled: user !== null, value: user?.user ?? "", autocomplete: "off", autocapitalize: "none" });
  const password = h("input", { type: "password", required: user === null, autocomplete: "new-password" });
  const role = select(ROLES, user?.role ?? "viewer", { on: { change: show } });
  const all = check("All cameras", { checked: !user || user.cameras === null, on: { change: show } });
  const boxes = [...new Set([...names, ...user?.cameras ?? []])].map((id) => ({ id, ...check(id, { checked: user?.cameras?.includes(id) ?? false }) }));
  const choices = h("div", { class: "choices" }, boxes.map(({ element }) => element));
  const cameras = h("fieldset", {}, h("legend", {}, "Cameras"), all.element, choices);
  const line = formLine();
  const submit = h("button", { class: "main" }, user ? "Save" : "Add");
  show();

  function show() {
    cameras.hidden = role.value === "admin";
    choices.hidden = all.box.checked;
  }

  const box = dialog(user ? `Change ${user.user}` : "Add a user", form({}, { line, submit, send: async () => {
    const body = {
      role: role.value, cameras: role.value === "admin" || all.box.checked ? null : boxes.filter((one) => one.box.checked).map(({ id }) => id),
    };
    if (password.value) body.password = password.value;
    await (user ? app.api.changeUser(user.user, body) : app.api.addUser({ name: name.value, ...body }));
    box.close();
    saved();
  } },
  field("User", name), field(user ? "New password" : "Password", password, user ? "Empty: as it is" : null), field("Role", role), cameras, line.element,
  h("div", { class: "row end" }, button("Cancel", () => box.close()), submit)));
}
