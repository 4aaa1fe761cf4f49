// What a timeline shows, fetched as the view moves: a little more than is in view, once the view rests, the newest
// request winning. Until an answer is there the last one stays.

import { isAbort } from "./api.js";

const REST_MS = 120;
const MARGIN = 0.5; // of the view, on either side

export const NOTHING = Object.freeze({ from: 0, to: 1, covered: [], gaps: [], activity: [], events: [], more: false });

export class TimelineData {
  data = NOTHING;
  #load;
  #told;
  #fault;
  #timer = 0;
  #request = new AbortController();
  #held = null; // the view that `data` was asked for

  /** `load(from, to, buckets, signal)` asks the server; `told()` hears of new data and `fault(error)` of failures. */
  constructor({ load, told, fault, signal }) {
    this.#load = load;
    this.#told = told;
    this.#fault = fault;
    signal.addEventListener("abort", () => {
      clearTimeout(this.#timer);
      this.#request.abort();
    });
  }

  /** Make sure that `view`, drawn `width` pixels wide, is there. `anew`: even if it was, for footage grows. */
  want(view, width, anew = false) {
    if (!anew && this.#serves(view)) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(view, width), this.#held ? REST_MS : 0);
  }

  #serves(view) {
    const held = this.#held;
    if (!held) return false;
    const span = view.to - view.from;
    const same = (held.to - held.from) / (span * (1 + 2 * MARGIN));
    return view.from >= held.from && view.to <= held.to && same > 0.6 && same < 1.6;
  }

  async #ask(view, width) {
    this.#request.abort();
    this.#request = new AbortController();
    const span = view.to - view.from;
    const wanted = { from: view.from - span * MARGIN, to: view.to + span * MARGIN };
    const buckets = Math.max(16, Math.min(2000, Math.round(width * (1 + 2 * MARGIN) / 4)));
    try {
      this.data = await this.#load(wanted.from, wanted.to, buckets, this.#request.signal);
      this.#held = wanted;
      this.#told();
    } catch (error) {
      if (!isAbort(error)) this.#fault(error);
    }
  }
}
