// The exports of a user: under way, done and failed; with progress, download and removal.

import { button, confirm, h, pause } from "./dom.js";
import { formatBytes, formatDuration, formatPercent, formatTime } from "./format.js";
import { failure } from "./status.js";

const BUSY_MS = 700, IDLE_MS = 10000;
const STATES = { queued: "Waiting", running: "Running", done: "Done", failed: "Failed", cancelled: "Cancelled" };

/** `camera`: only exports with this camera, and nothing at all where there are none. {element, refresh}. */
export function exportList({ app, signal, camera }) {
  const list = h("ol", { class: "exports" });
  const title = h("h2", { id: "exports-title" }, "Exports");
  const element = h("section", { class: "card", "aria-labelledby": "exports-title", hidden: Boolean(camera) }, title, list);
  const rows = new Map();
  let wake = new AbortController();
  run();
  return { element, refresh: () => wake.abort() };

  async function run() {
    while (!signal.aborted) {
      let busy = false;
      try {
        const found = (await app.api.exports(signal)).filter((item) => !camera || (item.cameras ?? [camera]).includes(camera));
        busy = found.some(({ state }) => state === "queued" || state === "running");
        draw(found);
      } catch (error) {
        if (!signal.aborted && !rows.size) list.replaceChildren(h("li", {}, failure(error)));
      }
      wake = new AbortController();
      await pause(busy ? BUSY_MS : IDLE_MS, AbortSignal.any([signal, wake.signal]));
    }
  }

  function draw(found) {
    if (camera) element.hidden = found.length === 0;
    for (const [id, row] of rows) {
      if (found.some((item) => item.id === id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    if (found.length === 0) return list.replaceChildren(h("li", { class: "hint" }, "No exports yet. Mark a range on a camera's page, then export it."));
    if (!rows.size) list.replaceChildren();
    for (const [at, item] of found.entries()) {
      if (!rows.has(item.id)) rows.set(item.id, new Row(item, remove));
      const row = rows.get(item.id);
      row.update(item);
      if (list.children[at] !== row.element) list.insertBefore(row.element, list.children[at] ?? null);
    }
  }

  async function remove(item) {
    const ended = item.state !== "running" && item.state !== "queued";
    if (ended && !await confirm("Remove this export? Its files are deleted; the footage stays.", "Remove")) return;
    try {
      await app.api.removeExport(item.id);
      wake.abort();
    } catch (error) {
      app.status.fault(error);
    }
  }
}

class Row {
  constructor(item, remove) {
    this.item = item;
    this.state = h("span", { class: "state" });
    this.progress = h("progress", { max: 1, "aria-label": "Progress" });
    this.files = h("ul", { class: "files" });
    this.fault = h("p", { class: "fault" });
    this.remove = button("Cancel", () => remove(this.item), { class: "plain" });
    const what = [(item.cameras ?? []).join(", "), item.from && `${formatTime(item.from)}, ${formatDuration(item.to - item.from)}`,
      item.layer === "foreground" && "foreground only"].filter(Boolean).join(" · ");
    this.element = h("li", { class: "export", dataset: { id: item.id } },
      h("span", { class: "what" }, what || item.id), this.state, this.progress, this.remove, this.files, this.fault);
  }

  update(item) {
    this.item = item;
    const busy = item.state === "queued" || item.state === "running";
    this.element.dataset.state = item.state;
    const state = item.state === "running" ? `Running, ${formatPercent(item.progress)}` : STATES[item.state] ?? item.state;
    if (this.state.textContent !== state) this.state.textContent = state;
    this.progress.hidden = !busy;
    this.progress.value = item.progress ?? 0;
    this.remove.textContent = busy ? "Cancel" : "Remove";
    this.fault.hidden = !item.error;
    this.fault.textContent = item.error ?? "";
    if (this.files.children.length !== (item.files ?? []).length) this.files.replaceChildren(...item.files.map((file) => this.#file(file)));
  }

  #file({ name, bytes, sha256 }) {
    return h("li", {},
      h("a", { href: `/api/exports/${this.item.id}/${encodeURIComponent(name)}`, download: name }, name),
      h("span", { class: "facts" }, formatBytes(bytes)),
      sha256 ? h("code", { class: "sum", title: `SHA-256 ${sha256}` }, `SHA-256 ${sha256.slice(0, 12)}…`) : null);
  }
}
