// All exports, and a form for a range of several cameras.

import { cameraNames } from "../cameras.js";
import { check, field, h, select } from "../dom.js";
import { exportList } from "../exports.js";
import { fromInput, toInput } from "../format.js";
import { formLine } from "../status.js";

export function exportsView({ app, signal }) {
  const done = exportList({ app, signal });
  return h("section", { class: "view", "aria-labelledby": "page-title" },
    h("div", { class: "head" }, h("h1", { id: "page-title" }, "Exports")),
    form({ app, signal, onExport: done.refresh }), done.element);
}

function form({ app, signal, onExport }) {
  const now = Date.now() / 1000;
  const from = h("input", { type: "datetime-local", step: 1, required: true, value: toInput(now - 3600) });
  const to = h("input", { type: "datetime-local", step: 1, required: true, value: toInput(now) });
  const layer = select([["full", "Full picture"], ["foreground", "Foreground over plate"]], "full");
  const time = check("Write the time into the picture");
  const boxes = check("Draw boxes");
  const cameras = h("div", { class: "choices" });
  const submit = h("button", { class: "main" }, "Export");
  const line = formLine();
  let names = [];
  cameraNames(app.api, signal).then((found) => {
    names = found.map((id) => ({ id, ...check(id) }));
    cameras.replaceChildren(...names.map(({ element }) => element));
    if (names.length === 1) names[0].box.checked = true;
  }, line.fault);

  async function send(event) {
    event.preventDefault();
    const chosen = names.filter(({ box }) => box.checked).map(({ id }) => id);
    if (!chosen.length) return line.fault(new Error("Choose at least one camera."));
    submit.disabled = true;
    try {
      await app.api.addExport({
        cameras: chosen, from: fromInput(from.value), to: fromInput(to.value), layer: layer.value, time: time.box.checked, boxes: boxes.box.checked,
      });
      line.say("The export has begun.");
      onExport();
    } catch (error) {
      line.fault(error);
    } finally {
      submit.disabled = false;
    }
  }

  return h("form", { class: "card form", on: { submit: send }, "aria-label": "New export" },
    h("h2", {}, "New export"),
    h("fieldset", {}, h("legend", {}, "Cameras"), cameras),
    h("div", { class: "fields" }, field("From", from), field("To", to), field("Picture", layer)),
    h("div", { class: "choices" }, time.element, boxes.element),
    h("div", { class: "row" }, submit, line.element));
}
