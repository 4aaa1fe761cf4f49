// Who did what, the newest first.

import { field, h, select, table } from "../../dom.js";
import { formatTime } from "../../format.js";
import { loaded } from "./lists.js";

const COUNTS = [["100", "100"], ["1000", "1,000"], ["10000", "10,000"]];

export function auditPart({ app, signal }) {
  const count = select(COUNTS, "100", { on: { change: () => list.again() } });
  const find = h("input", { type: "search", placeholder: "User, action, address", on: { input: () => sift() } });
  let rows = [];
  const list = loaded({ signal, load: () => app.api.audit(count.value, signal), draw: (deeds) => {
    const shown = table("Audit log", [{ label: "Time", class: "time" }, { label: "User" }, { label: "Action", class: "time" }, { label: "What" }, { label: "From" }],
      deeds.map((deed) => [formatTime(deed.at), deed.user, deed.action, deed.detail, deed.address]));
    rows = [...shown.querySelectorAll("tbody tr")];
    sift();
    return shown;
  } });

  function sift() {
    const wanted = find.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }

  return h("div", { class: "card" },
    h("div", { class: "head" }, h("h2", {}, "Audit log"), h("div", { class: "tools" }, field("Find", find), field("Entries", count))), list.element);
}
