// What the archive holds, what it grows by, how it ages, and how long it will last.

import { button, confirm, h, select, table } from "../dom.js";
import { formatBytes, formatDays, formatTime, formatDuration } from "../format.js";
import { plot } from "../plots.js";
import { href } from "../router.js";
import { empty, failure } from "../status.js";
import { colours, onTheme, prepare } from "../theme.js";

const BUCKETS = 120; // at most, and none shorter than a second
const RANGES = [["3600", "Last hour"], ["86400", "Last day"], ["604800", "Last week"], ["2592000", "Last 30 days"], ["all", "All"]];
const DAY_S = 86400;

export function storageView({ app, signal }) {
  const place = h("div", { class: "stack" }, h("p", { class: "empty" }, "Loading …"));
  load();
  return h("section", { class: "view storage", "aria-labelledby": "page-title" },
    h("div", { class: "head" }, h("h1", { id: "page-title" }, "Storage")), place);

  async function load() {
    try {
      const [storage, cameras, pins] = await Promise.all([app.api.storage(signal), app.api.cameras(signal), app.api.pins(signal)]);
      if (signal.aborted) return;
      if (!storage.by_camera.length) return place.replaceChildren(totals(storage), empty("Nothing is recorded yet."));
      place.replaceChildren(
        totals(storage),
        layersOverTime({ app, cameras, signal }),
        aging({ app, cameras, signal }),
        h("div", { class: "two" }, byCamera(storage), forecast(storage, signal)),
        pinned({ app, pins, again: load }));
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(failure(error, load));
    }
  }
}

function totals({ bytes, free, cap }) {
  const whole = cap ?? bytes + free;
  return h("dl", { class: "totals" },
    [["Stored", formatBytes(bytes)], ["Free on the disk", formatBytes(free)], ["Most it may take", cap ? formatBytes(cap) : "the disk"]]
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    h("div", { class: "wide" }, h("dt", {}, "Used"), h("dd", {}, h("meter", { min: 0, max: whole, value: bytes, high: whole * 0.9, "aria-label": "Share used" }))));
}

/** Bytes by layer over time, of one camera or all, as a stacked area. */
function layersOverTime({ app, cameras, signal }) {
  const stored = cameras.filter(({ last }) => last);
  const camera = select([["", "All cameras"], ...stored.map(({ id }) => [id, id])], "", { "aria-label": "Camera", on: { change: load } });
  const range = select(RANGES, "all", { "aria-label": "Time", on: { change: load } });
  const note = h("p", { class: "hint", role: "status" });
  const drawing = plot({
    label: "Bytes stored by layer over time", time: true, xLabel: "Time", xValue: formatTime, data: [[], [], []], signal, steps: true,
    series: [{ label: "Both layers", colour: "band-foreground", fill: "fill-background" }, { label: "Foreground", colour: "accent", fill: "fill-foreground" }],
  });
  load();
  return h("section", { class: "card", "aria-labelledby": "layers-title" },
    h("div", { class: "head" }, h("h2", { id: "layers-title" }, "Bytes by layer"), h("div", { class: "row" }, camera, range)), drawing.element, note);

  async function load() {
    const chosen = stored.filter(({ id }) => !camera.value || id === camera.value);
    const last = Math.max(...chosen.map((one) => one.last)) + 1;
    const first = Math.min(...chosen.map((one) => one.first ?? one.last - DAY_S));
    const from = range.value === "all" ? first : last - Number(range.value);
    try {
      const buckets = Math.max(1, Math.min(BUCKETS, Math.floor(last - from)));
      const parts = await Promise.all(chosen.map(({ id }) => app.api.layers(id, from, last, buckets, signal)));
      const step = (last - from) / buckets;
      const sum = (name, at) => parts.reduce((total, part) => total + part[name][at], 0);
      const at = Array.from({ length: buckets }, (_, bucket) => bucket);
      const foreground = at.map((bucket) => sum("foreground", bucket));
      const both = at.map((bucket) => foreground[bucket] + sum("background", bucket));
      drawing.set([at.map((bucket) => from + bucket * step), both, foreground]);
      const [a, b] = [foreground, both].map((list) => list.reduce((total, value) => total + value, 0));
      note.textContent = `${formatTime(from)} – ${formatTime(last)}, by ${formatDuration(step)}: foreground ${formatBytes(a)}, background ${formatBytes(b - a)}.`;
    } catch (error) {
      app.status.fault(error);
    }
  }
}

/** A strip a camera: from when its footage is, and what aging has left of it. */
function aging({ app, cameras, signal }) {
  const stored = cameras.filter(({ last }) => last);
  const from = Math.min(...stored.map((one) => one.first ?? one.last - DAY_S));
  const to = Math.max(...stored.map((one) => one.last));
  const strips = stored.map((camera) => strip({ app, camera, from, to, signal }));
  const swatch = (kind, label) => h("span", { class: "key" }, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), label);
  return h("section", { class: "card", "aria-labelledby": "aging-title" },
    h("h2", { id: "aging-title" }, "Aging"),
    h("div", { class: "strips" }, strips),
    h("div", { class: "strip ends" }, h("span"), h("span", { class: "row between" }, h("span", {}, formatTime(from)), h("span", {}, formatTime(to)))),
    h("div", { class: "legend" }, swatch("full", "Full"), swatch("foreground", "Foreground over plate"), swatch("thinned", "Thinned"), swatch("none", "No footage")));
}

function strip({ app, camera, from, to, signal }) {
  const canvas = h("canvas", { class: "strip-canvas", role: "img" });
  let covered = [];
  const draw = () => {
    const target = prepare(canvas);
    if (!target) return;
    const { context, width, height } = target;
    const colour = colours("sunken", "band-full", "band-foreground", "band-thinned");
    context.fillStyle = colour.sunken;
    context.fillRect(0, 0, width, height);
    for (const [t0, t1, level] of covered) {
      const tall = { full: height, foreground: height / 2, thinned: 3 }[level] ?? height;
      const left = (t0 - from) / (to - from) * width;
      context.fillStyle = colour[`band-${level}`];
      context.fillRect(left, height - tall, Math.max(1, (t1 - t0) / (to - from) * width), tall);
    }
  };
  app.api.timeline(camera.id, from, to + 1, 1, signal).then((data) => {
    covered = data.covered;
    const lengths = { full: 0, foreground: 0, thinned: 0 };
    for (const [t0, t1, level] of covered) lengths[level] += t1 - t0;
    canvas.setAttribute("aria-label", `${camera.id}: ${formatDuration(lengths.full)} full, ${formatDuration(lengths.foreground)} without background, ${formatDuration(lengths.thinned)} thinned`);
    draw();
  }, (error) => app.status.fault(error));
  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  signal.addEventListener("abort", () => observer.disconnect());
  onTheme(draw, signal);
  return h("div", { class: "strip" }, h("a", { href: href(`camera/${camera.id}`) }, camera.id), canvas);
}

function byCamera({ by_camera: cameras }) {
  return h("section", { class: "card", "aria-labelledby": "by-camera-title" },
    h("h2", { id: "by-camera-title" }, "By camera"),
    table("Bytes by camera and layer", [{ label: "Camera" }, { label: "Foreground", class: "number" }, { label: "Background", class: "number" }, { label: "Oldest" }],
      cameras.map(({ camera, foreground, background, oldest }) => [
        h("a", { href: href(`camera/${camera}`) }, camera), formatBytes(foreground), formatBytes(background), oldest ? formatTime(oldest) : "–"])));
}

/** Days by camera, and how the archive grows if nothing were to age, layer by layer. */
function forecast({ forecast: known }, signal) {
  const cameras = Object.entries(known?.cameras ?? known ?? {});
  const title = h("h2", { id: "forecast-title" }, "Forecast");
  if (!cameras.length) return h("section", { class: "card" }, title, empty("Too little is recorded to tell."));
  const rows = cameras.map(([id, one]) => [
    id, formatBytes((one.foreground_rate ?? 0) + (one.background_rate ?? 0)), formatDays(one.days_full), formatDays(one.days_foreground), formatDays(one.days_thin), formatDays(one.days_aged)]);
  const columns = [{ label: "Camera" }, { label: "A day", class: "number" }, { label: "Full", class: "number" }, { label: "No background", class: "number" },
    { label: "Thinned", class: "number" }, { label: "As configured", class: "number" }];
  const sum = (name) => cameras.reduce((total, [, one]) => total + (one[name] ?? 0), 0);
  const rates = { full: sum("foreground_rate") + sum("background_rate"), foreground: sum("foreground_rate"), thin: sum("thin_rate") };
  const room = sum("room_bytes");
  const days = Math.min(365, Math.max(1, (rates.full ? room / rates.full : 30) * 1.5));
  const at = Array.from({ length: 61 }, (_, step) => step * days / 60);
  const grown = (rate) => at.map((day) => Math.min(room, day * rate));
  const drawing = plot({
    label: `Growth of the archive over ${formatDays(days)}, against the room it has`, signal, xLabel: "Days from empty", xValue: (day) => formatDays(day),
    data: [at, at.map(() => room), grown(rates.full), grown(rates.foreground), grown(rates.thin)],
    series: [{ label: "Room", colour: "muted", dash: [4, 4] }, { label: "Full", colour: "band-full", width: 2 },
      { label: "No background", colour: "band-foreground", width: 2, dash: [8, 3] }, { label: "Thinned", colour: "band-thinned", width: 2, dash: [2, 3] }],
  });
  return h("section", { class: "card", "aria-labelledby": "forecast-title" }, title,
    h("p", { class: "hint" }, "How many days of footage fit, at the rate of the last day."),
    table("Forecast by camera", columns, rows), drawing.element);
}

function pinned({ app, pins, again }) {
  const release = async (pin) => {
    if (!await confirm("Let this footage age and go like all other?", "Let go")) return;
    try {
      await app.api.removePin(pin.id);
      again();
    } catch (error) {
      app.status.fault(error);
    }
  };
  return h("section", { class: "card", "aria-labelledby": "pins-title" },
    h("h2", { id: "pins-title" }, "Kept footage"),
    pins.length ? table("Kept footage", [{ label: "Camera" }, { label: "From" }, { label: "Length" }, { label: "Note" }, { label: "" }],
      pins.map((pin) => [h("a", { href: href(`camera/${pin.camera}`, { t: pin.from }) }, pin.camera), formatTime(pin.from), formatDuration(pin.to - pin.from), pin.note || "–",
        app.me.role === "admin" ? button("Let go", () => release(pin), { class: "plain" }) : ""]))
      : h("p", { class: "hint" }, "Nothing is kept from aging. Mark a range on a camera's page and choose Keep; exports are kept by themselves."));
}
