// Search: what was seen, by camera, class, time and place in the picture, as thumbnails that lead to the moment.

import { button, field, h, select } from "../dom.js";
import { formatDuration, formatPercent, formatTime, fromInput, toInput } from "../format.js";
import { Pictures, put } from "../pictures.js";
import { href, remember } from "../router.js";
import { ZonePicker } from "../shapes.js";
import { empty, failure } from "../status.js";

const PAGE = 24;
const THUMB_WIDTH = 320;
const CLASSES = ["person", "car", "bicycle", "motorcycle", "bus", "truck", "train", "bird", "cat", "dog", "backpack", "handbag", "suitcase", "motion"];
const LEAD_S = 1;

export function searchView({ app, query, signal }) {
  const results = h("ol", { class: "results", "aria-label": "Results" });
  const line = h("p", { class: "hint", role: "status" });
  const more = button("More", () => load(), { hidden: true });
  const place = h("div", {}, line, results, more);
  const pictures = new Pictures(signal);
  const form = filters({ app, query, signal, onSearch: search });
  let cursor = null;
  let request = new AbortController();
  search();

  return h("section", { class: "view", "aria-labelledby": "page-title" },
    h("div", { class: "head" }, h("h1", { id: "page-title" }, "Search")), form.element, place);

  function search() {
    remember("search", form.asked());
    cursor = null;
    results.replaceChildren();
    return load();
  }

  async function load() {
    request.abort();
    request = new AbortController();
    more.disabled = true;
    line.textContent = "Searching …";
    try {
      const asked = { ...form.asked(), limit: PAGE, before: cursor };
      const { results: found, next } = await app.api.search(asked, AbortSignal.any([signal, request.signal]));
      results.append(...found.map((item) => result(app.api, pictures, item, signal)));
      cursor = next;
      more.hidden = !next;
      const count = results.children.length;
      line.textContent = count ? `${count}${next ? " or more" : ""} found, newest first` : "";
      if (!count) results.replaceChildren(h("li", { class: "wide" }, empty("Nothing found. Try a longer time, or fewer filters.")));
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      line.textContent = "";
      results.replaceChildren(h("li", { class: "wide" }, failure(error, search)));
    } finally {
      more.disabled = false;
    }
  }
}

function result(api, pictures, item, signal) {
  const image = h("img", { alt: "", class: "picture" });
  const note = h("span", { class: "missing" }, "…");
  const fitted = h("span", { class: "fitted" }, image);
  pictures.whenSeen(image, async () => {
    const { blob } = await api.frame(item.camera, { t: item.t, layer: "foreground", width: THUMB_WIDTH }, signal);
    note.hidden = true;
    return blob;
  }, (error) => { note.textContent = error.status === 404 ? "Footage gone" : error.message; });
  // The box belongs on the picture, which fills its place only where it is as wide as that.
  image.addEventListener("load", () => {
    fitted.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
    if (item.box) fitted.append(foundBox(item.box));
  }, { once: true });
  return h("li", {},
    h("a", { class: "result", href: href(`camera/${item.camera}`, { t: (Math.max(item.t0, item.t - LEAD_S)).toFixed(3) }) },
      h("span", { class: "frame" }, fitted, note),
      h("span", { class: "caption" },
        h("span", { class: "name" }, `${item.class}${item.score ? ` ${formatPercent(item.score)}` : ""}`),
        h("span", { class: "facts" }, item.camera),
        h("time", { class: "facts", datetime: new Date(item.t * 1000).toISOString() }, `${formatTime(item.t)}, ${formatDuration(Math.max(0.1, item.t1 - item.t0))}`))));
}

function foundBox([x0, y0, x1, y1]) {
  const box = h("span", { class: "found-box" });
  Object.assign(box.style, { left: `${x0 * 100}%`, top: `${y0 * 100}%`, width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%` });
  return box;
}

/** The filters. `asked()` is what the server is asked, and what stands in the address bar. */
function filters({ app, query, signal, onSearch }) {
  const camera = select([["", "All cameras"]], "", { on: { change: cameraChanged } });
  const kind = h("input", { list: "classes", placeholder: "Any", value: query.get("class") ?? "", autocapitalize: "none" });
  const from = h("input", { type: "datetime-local", step: 1, value: query.get("from") ? toInput(Number(query.get("from"))) : "" });
  const to = h("input", { type: "datetime-local", step: 1, value: query.get("to") ? toInput(Number(query.get("to"))) : "" });
  const picker = h("div", { class: "zone-place" });
  const zoneText = h("span", { class: "hint" });
  const clear = button("Whole picture", () => setZone(null), { class: "plain" });
  const zoneBox = h("details", { class: "zone-box" }, h("summary", {}, "Place in the picture ", zoneText), picker, clear);
  zoneBox.addEventListener("toggle", () => { if (zoneBox.open) showPicker(); });
  let cameras = [];
  let drawn = null;
  let zone = query.get("zone")?.split(",").map(Number) ?? null;
  if (zone && (zone.length !== 4 || zone.some(Number.isNaN))) zone = null;
  let wanted = query.get("camera") ?? "";
  setZone(zone);

  app.api.cameras(signal).then((found) => {
    cameras = found;
    const names = found.map(({ id }) => id);
    camera.append(...names.map((name) => h("option", { value: name }, name)));
    camera.value = names.includes(wanted) ? wanted : "";
    wanted = null;
  }, (error) => app.status.fault(error));

  function cameraChanged() {
    picker.replaceChildren();
    if (zoneBox.open) showPicker();
  }

  function setZone(value) {
    zone = value;
    zoneText.textContent = value ? `(${value.map((share) => Math.round(share * 100)).join(", ")} %)` : "(whole)";
    clear.hidden = !value;
    if (!value) drawn?.set(null, true);
  }

  async function showPicker() {
    if (picker.children.length) return;
    const chosen = cameras.find(({ id }) => id === camera.value) ?? cameras[0];
    if (!chosen) return;
    const image = h("img", { alt: `Newest picture of ${chosen.id}`, draggable: "false" });
    drawn = new ZonePicker({ image, width: chosen.width, height: chosen.height, zone, changed: setZone });
    picker.replaceChildren(drawn.element, h("p", { class: "hint" }, `Drag a rectangle. Picture: ${chosen.id}.`));
    try {
      await put(image, (await app.api.latest(chosen.id, 640, signal)).blob);
    } catch (error) {
      app.status.fault(error);
    }
  }

  function asked() {
    return {
      camera: (wanted ?? camera.value) || undefined, class: kind.value.trim() || undefined,
      from: fromInput(from.value) ?? undefined, to: fromInput(to.value) ?? undefined, zone: zone ? zone.join() : undefined,
    };
  }

  const element = h("form", { class: "card form", role: "search", on: { submit: (event) => { event.preventDefault(); onSearch(); } } },
    h("datalist", { id: "classes" }, CLASSES.map((value) => h("option", { value }))),
    h("div", { class: "fields" }, field("Camera", camera), field("Class", kind), field("From", from), field("To", to),
      h("button", { class: "main" }, "Search")),
    zoneBox);
  return { element, asked };
}
