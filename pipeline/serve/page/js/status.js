// What the page says about itself: short notices, spoken by screen readers, and a bar that stays while the server is gone.

import { button, h } from "./dom.js";
import { isAbort } from "./api.js";

const STAYS_MS = 6000;

export class Status {
  constructor() {
    this.bar = h("div", { class: "bar", role: "alert", hidden: true });
    this.notices = h("div", { class: "notices", role: "status", "aria-live": "polite" });
  }

  gone() {
    this.bar.replaceChildren("The server cannot be reached. Trying again …");
    this.bar.hidden = false;
  }

  back() {
    if (this.bar.hidden) return;
    this.bar.hidden = true;
    this.say("The server answers again.");
  }

  say(text) { this.#show(text, "notice"); }
  warn(text) { this.#show(text, "notice fault"); }

  /** Tell of an error, unless it only says that nobody waits any more, or the bar or the sign-in tells already. */
  fault(error) {
    if (isAbort(error) || error.status === 0 || error.status === 401) return;
    if (error.status === undefined) console.error(error);
    this.warn(error.message);
  }

  #show(text, kind) {
    const notice = h("div", { class: kind }, h("span", {}, text));
    notice.append(button("Dismiss", () => notice.remove(), { class: "plain" }));
    this.notices.append(notice);
    setTimeout(() => notice.remove(), STAYS_MS);
  }
}

/** What stands where something could not be loaded. */
export function failure(error, again) {
  const text = error.status === 403 ? "You may not see this." : error.message;
  return h("div", { class: "empty", role: "alert" }, h("p", {}, text), again ? button("Try again", again) : null);
}

export const empty = (...children) => h("div", { class: "empty" }, h("p", {}, ...children));

/** The line under a form: busy, done or what is wrong. */
export function formLine() {
  const element = h("p", { class: "form-line", role: "status" });
  return {
    element,
    say(text) { element.className = "form-line"; element.textContent = text; },
    fault(error) {
      if (isAbort(error)) return;
      element.className = "form-line fault";
      element.textContent = error.message;
    },
  };
}
