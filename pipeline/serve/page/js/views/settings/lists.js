// What the parts of the settings share: a list that is loaded, shown, and loaded again after each change.

import { h } from "../../dom.js";
import { failure } from "../../status.js";

/** `load()` asks the server, `draw(found, again)` makes nodes of the answer. {element, again}. */
export function loaded({ load, draw, signal }) {
  const element = h("div", { class: "stack" }, h("p", { class: "empty" }, "Loading …"));
  const again = async () => {
    try {
      const found = await load();
      if (!signal.aborted) element.replaceChildren(...[draw(found, again)].flat().filter(Boolean));
    } catch (error) {
      if (!signal.aborted) element.replaceChildren(failure(error, again));
    }
  };
  again();
  return { element, again };
}

/** A form whose `send()` runs once at a time; what goes wrong stands in `line`. */
export function form(props, { send, line, submit }, ...children) {
  return h("form", { ...props, on: { submit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      await send();
    } catch (error) {
      line.fault(error);
    } finally {
      submit.disabled = false;
    }
  } } }, children);
}

/** A dialog around a form; {element, close}. */
export function dialog(title, content) {
  const element = h("dialog", { class: "dialog", "aria-label": title }, h("h2", {}, title), content);
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
  return { element, close: () => element.close() };
}
