// A range of one camera, marked while watching, to be exported or kept from aging.

import { button, check, field, h, select } from "./dom.js";
import { formatDuration, formatTime, fromInput, toInput } from "./format.js";
import { formLine } from "./status.js";

const AROUND_S = 5; // on either side of an event that is to be exported

export class Selection {
  #app;
  #camera;
  #now;
  #onChange;
  #onExport;
  #range = { from: null, to: null };

  /** `now()`: the moment shown. `onChange({from, to}|null)`; `onExport()`: one was begun. */
  constructor({ app, camera, now, onChange, onExport }) {
    this.#app = app;
    this.#camera = camera;
    this.#now = now;
    this.#onChange = onChange;
    this.#onExport = onExport;
    this.text = h("span", { class: "range", role: "status" });
    this.exporting = button("Export …", () => this.#askExport(), { class: "main" });
    this.keeping = button("Keep …", () => this.#askPin(), { title: "Kept footage neither ages nor goes", hidden: app.me.role !== "admin" });
    this.clearing = button("Clear", () => this.#set({ from: null, to: null }), { class: "plain" });
    const marks = [button("Mark start", () => this.markStart()), button("Mark end", () => this.markEnd())];
    this.element = h("div", { class: "selection", role: "group", "aria-label": "Selection" },
      h("div", { class: "row" }, marks), this.text, h("div", { class: "row end" }, this.clearing, this.keeping, this.exporting));
    this.#set(this.#range);
  }

  markStart() { this.#mark("from"); }
  markEnd() { this.#mark("to"); }

  /** What would be exported of an event, as long as the user has marked nothing. */
  suggest({ t0, t1 }) { this.suggested = { from: t0 - AROUND_S, to: t1 + AROUND_S }; }

  #mark(end) {
    const t = this.#now();
    if (t === null) return;
    const range = { ...this.#range, [end]: t };
    // The other end gives way, so that what was marked last always stands.
    if (range.from !== null && range.to !== null && range.from >= range.to) range[end === "from" ? "to" : "from"] = null;
    this.#set(range);
  }

  #set(range) {
    this.#range = range;
    const { from, to } = range;
    const whole = from !== null && to !== null;
    this.clearing.disabled = from === null && to === null;
    if (whole) this.text.textContent = `${formatTime(from)} – ${formatTime(to)} (${formatDuration(to - from)})`;
    else if (from !== null) this.text.textContent = `From ${formatTime(from)}; mark an end`;
    else if (to !== null) this.text.textContent = `Until ${formatTime(to)}; mark a start`;
    else this.text.textContent = "Nothing marked";
    this.#onChange(whole ? range : null);
  }

  /** What a dialog begins with: what is marked, the event chosen last, or half a minute around the moment. */
  #proposed() {
    const { from, to } = this.#range;
    if (from !== null && to !== null) return { from, to };
    if (this.suggested && from === null && to === null) return this.suggested;
    const t = this.#now() ?? Date.now() / 1000;
    return { from: from ?? (to ?? t) - 15, to: to ?? (from ?? t) + 15 };
  }

  #askExport() {
    const layer = select([["full", "Full picture"], ["foreground", "Foreground over plate"]], "full");
    const time = check("Write the time into the picture");
    const boxes = check("Draw boxes");
    dialog({
      title: `Export ${this.#camera.id}`, action: "Export", range: this.#proposed(), extra: [field("Picture", layer), time.element, boxes.element],
      send: async (range) => {
        await this.#app.api.addExport({ camera: this.#camera.id, ...range, layer: layer.value, time: time.box.checked, boxes: boxes.box.checked });
        this.#app.status.say("The export has begun.");
        this.#onExport();
      },
    });
  }

  #askPin() {
    const note = h("input", { maxlength: 200 });
    dialog({
      title: `Keep footage of ${this.#camera.id}`, action: "Keep", range: this.#proposed(), extra: [field("Note", note, "Kept footage neither ages nor goes until it is let go under Storage.")],
      send: async (range) => {
        await this.#app.api.addPin({ camera: this.#camera.id, ...range, note: note.value });
        this.#app.status.say("This footage is kept.");
      },
    });
  }
}

/** A dialog with a range; closes once `send({from, to})` has gone well. */
function dialog({ title, action, range, extra, send }) {
  const from = h("input", { type: "datetime-local", step: 1, required: true, value: toInput(range.from) });
  const to = h("input", { type: "datetime-local", step: 1, required: true, value: toInput(Math.ceil(range.to)) });
  const submit = h("button", { class: "main" }, action);
  const line = formLine();
  // The exact times stand until someone edits them: the fields show whole seconds.
  const exact = (input, t) => (input.value === input.defaultValue ? t : fromInput(input.value));
  from.defaultValue = from.value;
  to.defaultValue = to.value;

  async function go(event) {
    event.preventDefault();
    submit.disabled = true;
    line.say("Sending …");
    try {
      await send({ from: exact(from, range.from), to: exact(to, range.to) });
      element.close();
    } catch (error) {
      line.fault(error);
    } finally {
      submit.disabled = false;
    }
  }

  const element = h("dialog", { class: "dialog", "aria-label": title },
    h("form", { on: { submit: go } }, h("h2", {}, title), field("From", from), field("To", to), extra, line.element,
      h("div", { class: "row end" }, button("Cancel", () => element.close()), submit)));
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
}
