// The timeline of one camera: from seconds to years, by wheel, pinch, drag, buttons and keys. Asks for what it shows,
// and tells of the moments a user picks; it plays nothing.

import { button, h, repeat, select } from "./dom.js";
import { formatClock, formatDuration, formatPercent, formatTime, fromInput, toInput } from "./format.js";
import { onTheme, prepare } from "./theme.js";
import { TimelineData } from "./timeline-data.js";
import { heightFor, laneAt, paint } from "./timeline-paint.js";
import { around, clamp, pan, toTime, toX, zoom } from "./timescale.js";

const SPANS = [["60", "1 minute"], ["600", "10 minutes"], ["3600", "1 hour"], ["21600", "6 hours"], ["86400", "1 day"],
  ["604800", "1 week"], ["2592000", "30 days"], ["31536000", "1 year"]];
const REFRESH_MS = 5000;
const NEAR_PX = 5;

export class Timeline {
  #view;
  #now = null;
  #selection = null;
  #event = null;
  #hover = null;
  #lanes = [];
  #pointers = new Map();
  #moved = false;
  #drawing = 0;
  #said = "";
  #data;
  #onSeek;
  #onEvent;
  #onData;

  /**
   * `load(from, to, buckets, signal)`: the server's answer for a range. `onSeek(t)`: a moment was picked, `onEvent(event)`:
   * an event was. `onData(data)`: what is in and around the view has changed.
   */
  constructor({ view, load, fault, onSeek, onEvent, onData, signal }) {
    this.#view = clamp(view);
    this.#onSeek = onSeek;
    this.#onEvent = onEvent;
    this.#onData = onData;
    this.#data = new TimelineData({ load, fault, signal, told: () => this.#loaded() });
    this.#build();
    this.#listen(signal);
    repeat(() => this.#grow(), REFRESH_MS, signal);
  }

  get view() { return this.#view; }
  get data() { return this.#data.data; }

  /** The moment that is shown elsewhere on the page. Brings it into view when it has just left it. */
  setNow(t, { follow = true } = {}) {
    const was = this.#now;
    this.#now = t;
    if (follow && t !== null && (t < this.#view.from || t > this.#view.to)) {
      const span = this.#view.to - this.#view.from;
      const runs = was !== null && t > was && t - was < span / 4;
      return this.#show(runs ? pan(this.#view, t - this.#view.from - span * 0.1) : around(t, span));
    }
    this.#describe();
    this.#draw();
  }

  setSelection(selection) {
    this.#selection = selection;
    this.#draw();
  }

  setEvent(id) {
    this.#event = id;
    this.#draw();
  }

  show(from, to) { this.#show(clamp({ from, to })); }

  #show(view) {
    this.#view = view;
    const span = view.to - view.from;
    const preset = SPANS.find(([seconds]) => Math.abs(span / seconds - 1) < 0.01);
    this.span.value = preset ? preset[0] : "";
    this.span.options[0].textContent = formatDuration(span);
    this.span.options[0].hidden = Boolean(preset);
    this.canvas.dataset.from = view.from;
    this.canvas.dataset.to = view.to;
    this.#data.want(view, this.canvas.clientWidth);
    this.#describe();
    this.#draw();
  }

  #loaded() {
    const data = this.#data.data;
    for (const { class: name } of data.events) if (!this.#lanes.includes(name)) this.#lanes.push(name);
    this.#lanes.sort();
    this.canvas.style.height = `${heightFor(this.#lanes.length)}px`;
    this.more.hidden = !data.more;
    this.#onData(data);
    this.#draw();
  }

  #grow() {
    const soon = Date.now() / 1000 + 60;
    if (this.#view.to >= soon - 7200 && this.#view.from <= soon) this.#data.want(this.#view, this.canvas.clientWidth, true);
  }

  #build() {
    this.canvas = h("canvas", {
      class: "timeline", tabindex: 0, role: "slider", "aria-label": "Timeline", "aria-orientation": "horizontal",
      "aria-describedby": "timeline-keys",
    });
    this.canvas.style.height = `${heightFor(1)}px`;
    this.readout = h("span", { class: "readout" });
    this.more = h("span", { class: "hint", hidden: true }, "Too many events to show all: zoom in.");
    this.span = select([["", ""], ...SPANS], "", { "aria-label": "Time shown", on: { change: () => this.#zoomTo(Number(this.span.value)) } });
    this.jump = h("input", { type: "datetime-local", step: 1, "aria-label": "Jump to a time" });
    const jump = (event) => {
      event.preventDefault();
      const t = fromInput(this.jump.value);
      if (t === null) return;
      this.#show(around(t, this.#view.to - this.#view.from));
      this.#onSeek(t);
    };
    this.element = h("section", { class: "timeline-box", "aria-label": "Timeline" },
      h("div", { class: "timeline-tools" },
        h("div", { class: "row" },
          button("Earlier", () => this.#pan(-0.5), { icon: "left" }),
          button("Later", () => this.#pan(0.5), { icon: "right" }),
          button("Zoom out", () => this.#zoom(2), { icon: "minus" }),
          button("Zoom in", () => this.#zoom(0.5), { icon: "plus" }),
          this.span),
        h("form", { class: "row", on: { submit: jump } }, this.jump, h("button", {}, "Go")),
        this.readout),
      this.canvas,
      h("div", { class: "legend" },
        swatch("full", "Full"), swatch("foreground", "Foreground over plate"), swatch("thinned", "Thinned"), swatch("none", "No footage"), swatch("activity", "Activity"),
        this.more),
      h("p", { id: "timeline-keys", class: "unseen" },
        "Arrow keys move the moment shown, with Shift farther. Plus and minus zoom. Page up and page down move the view. Home and End go to the first and last footage in view."));
  }

  #listen(signal) {
    const on = (type, listener, options = {}) => this.canvas.addEventListener(type, listener, { signal, ...options });
    on("wheel", (event) => this.#wheel(event), { passive: false });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#pointers.delete(event.pointerId));
    on("pointerleave", () => { this.#setHover(null); });
    on("keydown", (event) => this.#key(event));
    onTheme(() => this.#draw(), signal);
    const observer = new ResizeObserver(() => this.#show(this.#view));
    observer.observe(this.canvas);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  #timeAt(event) {
    const box = this.canvas.getBoundingClientRect();
    return toTime(this.#view, box.width, event.clientX - box.left);
  }

  #wheel(event) {
    event.preventDefault();
    const span = this.#view.to - this.#view.from;
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    const delta = (event.deltaX || event.deltaY) * (event.deltaMode === 1 ? 16 : 1);
    if (sideways) this.#show(pan(this.#view, delta / this.canvas.clientWidth * span));
    else this.#show(zoom(this.#view, Math.exp(Math.max(-120, Math.min(120, event.deltaY * (event.deltaMode === 1 ? 16 : 1))) * 0.004), this.#timeAt(event)));
  }

  #down(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event.clientX);
    this.#moved = this.#pointers.size > 1;
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (before === undefined) return this.#setHover(this.#timeAt(event), event);
    const others = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    if (others.length) {
      const middle = toTime(this.#view, this.canvas.clientWidth, (event.clientX + others[0]) / 2 - this.canvas.getBoundingClientRect().left);
      const [was, is] = [Math.abs(before - others[0]), Math.abs(event.clientX - others[0])];
      if (was > 10 && is > 10) this.#show(zoom(this.#view, was / is, middle));
    } else if (this.#moved || Math.abs(event.clientX - before) > NEAR_PX) {
      this.#moved = true;
      const seconds = (this.#view.to - this.#view.from) / this.canvas.clientWidth;
      this.#show(pan(this.#view, (before - event.clientX) * seconds));
    } else return;
    this.#pointers.set(event.pointerId, event.clientX);
  }

  #up(event) {
    const held = this.#pointers.delete(event.pointerId);
    if (!held || this.#moved) return;
    const found = this.#eventAt(event);
    if (found) this.#onEvent(found);
    else this.#onSeek(this.#timeAt(event));
  }

  #eventAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const name = this.#lanes[laneAt(event.clientY - box.top)];
    const at = event.clientX - box.left;
    const distance = ({ t0, t1 }) => Math.max(toX(this.#view, box.width, t0) - at, at - toX(this.#view, box.width, t1), 0);
    const near = this.#data.data.events.filter((item) => item.class === name && distance(item) <= NEAR_PX);
    return near.sort((a, b) => distance(a) - distance(b) || a.t1 - a.t0 - (b.t1 - b.t0))[0];
  }

  #setHover(t, event) {
    this.#hover = t;
    const found = event && this.#eventAt(event);
    this.canvas.classList.toggle("on-event", Boolean(found));
    if (t === null) this.readout.textContent = "";
    else if (found) this.readout.textContent = `${found.class} ${formatClock(found.t0)}, ${formatDuration(found.t1 - found.t0)}${found.score ? `, ${formatPercent(found.score)}` : ""}`;
    else this.readout.textContent = formatTime(t);
    this.#draw();
  }

  #key(event) {
    const span = this.#view.to - this.#view.from;
    const far = event.shiftKey ? 10 : 1;
    const covered = this.#data.data.covered.filter(([t0, t1]) => t1 > this.#view.from && t0 < this.#view.to);
    const actions = {
      ArrowLeft: () => this.#seekBy(-far * span / 200),
      ArrowRight: () => this.#seekBy(far * span / 200),
      PageUp: () => this.#pan(-0.5),
      PageDown: () => this.#pan(0.5),
      Home: () => covered.length && this.#onSeek(Math.max(covered[0][0], this.#view.from)),
      End: () => covered.length && this.#onSeek(Math.min(covered.at(-1)[1], this.#view.to)),
      "+": () => this.#zoom(0.5), "=": () => this.#zoom(0.5), "-": () => this.#zoom(2),
    };
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  #seekBy(seconds) { this.#onSeek((this.#now ?? (this.#view.from + this.#view.to) / 2) + seconds); }
  #pan(share) { this.#show(pan(this.#view, share * (this.#view.to - this.#view.from))); }

  /** Zooms around the moment shown where that is in view. */
  #zoom(factor) {
    const { from, to } = this.#view;
    const inside = this.#now !== null && this.#now >= from && this.#now <= to;
    this.#show(zoom(this.#view, factor, inside ? this.#now : (from + to) / 2));
  }

  #zoomTo(span) { this.#zoom(span / (this.#view.to - this.#view.from)); }

  #describe() {
    const t = this.#now ?? this.#view.from;
    const said = [this.#view.from, this.#view.to, t].map(Math.round).join();
    if (said === this.#said) return; // while it plays this is called for each frame
    this.#said = said;
    this.canvas.setAttribute("aria-valuemin", Math.floor(this.#view.from));
    this.canvas.setAttribute("aria-valuemax", Math.ceil(this.#view.to));
    this.canvas.setAttribute("aria-valuenow", Math.round(t));
    this.canvas.setAttribute("aria-valuetext", formatTime(t));
    if (document.activeElement !== this.jump) this.jump.value = toInput(t);
  }

  #draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = requestAnimationFrame(() => {
      const target = prepare(this.canvas);
      if (!target) return;
      paint(target, this.#view, this.#data.data, this.#lanes,
        { now: this.#now, selection: this.#selection, event: this.#event, hover: this.#hover });
    });
  }
}

const swatch = (kind, label) => h("span", { class: "key" }, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), label);
