// What was seen, as a list beside the picture: the same events as the marks of the timeline, for eyes and screen readers.

import { button, h, select } from "./dom.js";
import { formatClock, formatDate, formatDuration, formatPercent } from "./format.js";
import { classColour } from "./theme.js";

const MOST = 200;

export class EventList {
  #onPick;
  #all = [];
  #shown = [];
  #chosen = null;
  #key = "";

  constructor({ onPick }) {
    this.#onPick = onPick;
    this.kind = select([["", "All classes"]], "", { "aria-label": "Class", on: { change: () => this.#render() } });
    this.list = h("ol", { class: "events" });
    this.count = h("p", { class: "hint", role: "status" });
    this.element = h("aside", { class: "seen", "aria-labelledby": "seen-title" },
      h("div", { class: "head" }, h("h2", { id: "seen-title" }, "Events"), this.kind,
        h("div", { class: "row" },
          button("Previous event", () => this.move(-1), { icon: "left" }),
          button("Next event", () => this.move(1), { icon: "right" }))),
      this.count, this.list);
  }

  /** `data` as the timeline has it; what is in `view` is listed. */
  show(data, view) {
    this.#all = data.events.filter((event) => event.t1 >= view.from && event.t0 <= view.to);
    this.#render();
  }

  choose(id) {
    this.#chosen = id;
    for (const item of this.list.children) this.#mark(item);
  }

  /** To the event after (1) or before (-1) the chosen one, or after or before `t`. */
  move(direction, t) {
    const at = this.#shown.findIndex((event) => event.id === this.#chosen);
    let next = at < 0 ? undefined : this.#shown[at + direction];
    if (at < 0) {
      const from = t ?? (direction > 0 ? -Infinity : Infinity);
      next = direction > 0 ? this.#shown.find((event) => event.t0 > from) : this.#shown.findLast((event) => event.t0 < from);
    }
    if (!next) return;
    this.#onPick(next);
    this.list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  #render() {
    const names = [...new Set(this.#all.map((event) => event.class))].sort();
    if (this.kind.value && !names.includes(this.kind.value)) names.push(this.kind.value);
    const options = [["", "All classes"], ...names.map((name) => [name, name])];
    const kind = this.kind.value;
    if (this.kind.options.length !== options.length) {
      this.kind.replaceChildren(...options.map(([value, label]) => h("option", { value }, label)));
      this.kind.value = kind;
    }
    this.#shown = this.#all.filter((event) => !kind || event.class === kind).sort((a, b) => a.t0 - b.t0).slice(0, MOST);
    const key = this.#shown.map(({ id, t1 }) => `${id}:${t1}`).join();
    if (key === this.#key && this.list.children.length) return; // a rebuilt list would lose the focus
    this.#key = key;
    this.count.textContent = this.#shown.length === MOST ? `The first ${MOST} in view` : `${this.#shown.length} in view`;
    this.list.replaceChildren(...this.#shown.map((event) => this.#item(event)));
  }

  #item(event) {
    const mark = h("span", { class: `dot ${classColour(event.class)}`, "aria-hidden": "true" });
    const facts = [formatDuration(Math.max(0.1, event.t1 - event.t0)), event.score ? formatPercent(event.score) : null].filter(Boolean).join(", ");
    const item = h("li", { dataset: { id: event.id } },
      h("button", { type: "button", class: "event", title: formatDate(event.t0), on: { click: () => this.#onPick(event) } },
        mark, h("span", { class: "what" }, event.class), h("span", { class: "when" }, formatClock(event.t0)), h("span", { class: "facts" }, facts)));
    this.#mark(item);
    return item;
  }

  #mark(item) {
    const chosen = item.dataset.id === String(this.#chosen);
    if (chosen) item.firstChild.setAttribute("aria-current", "true");
    else item.firstChild.removeAttribute("aria-current");
  }
}
