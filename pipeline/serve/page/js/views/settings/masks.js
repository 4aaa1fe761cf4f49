// Privacy masks: what of a camera's picture is never recorded, drawn on its newest picture.

import { button, field, h, select } from "../../dom.js";
import { put } from "../../pictures.js";
import { remember } from "../../router.js";
import { MaskEditor } from "../../shapes.js";
import { empty, formLine } from "../../status.js";
import { loaded } from "./lists.js";

const WIDTH = 960;

export function masksPart({ app, query, signal }) {
  let wanted = query.get("camera");
  const { element } = loaded({ signal, load: () => app.api.cameras(signal), draw: (cameras, again) => {
    if (!cameras.length) return empty("No cameras yet.");
    const camera = cameras.find(({ id }) => id === wanted) ?? cameras[0];
    const choice = select(cameras.map(({ id }) => [id, id]), camera.id, { on: { change: () => {
      wanted = choice.value;
      remember("settings/masks", { camera: wanted });
      again();
    } } });
    return [field("Camera", choice), editor({ app, camera, signal })];
  } });
  return h("div", { class: "card" }, h("h2", {}, "Privacy masks"),
    h("p", { class: "hint" }, "What lies in a mask is blackened before it is detected, coded or stored; it cannot be brought back. Footage that is stored already stays as it is."),
    element);
}

function editor({ app, camera, signal }) {
  const image = h("img", { alt: `Newest picture of ${camera.id}`, draggable: "false" });
  const line = formLine();
  const list = h("ol", { class: "mask-list" });
  const save = button("Save", send, { class: "main", disabled: true });
  const drawn = new MaskEditor({
    image, width: camera.width ?? 16, height: camera.height ?? 9, masks: camera.masks ?? [],
    changed: () => {
      save.disabled = false;
      line.say("Not saved yet.");
      draw();
    },
  });
  draw();
  show();

  return h("div", { class: "mask-editor" }, drawn.element,
    h("div", { class: "side" },
      h("p", { class: "hint" }, "Click to set corners; click the first one, or press Enter, to close. Drag corners to move them; Delete removes one."),
      button("Add a mask", () => drawn.add()), list, h("div", { class: "row" }, save, line.element)));

  async function show() {
    try {
      await put(image, (await app.api.latest(camera.id, WIDTH, signal)).blob);
    } catch (error) {
      if (!signal.aborted) line.fault(error.status === 404 ? new Error("No picture yet: masks can be drawn all the same.") : error);
    }
  }

  function draw() {
    const { masks } = drawn;
    list.replaceChildren(...masks.map((mask, at) => h("li", {},
      button(`Mask ${at + 1}, ${mask.length} corners`, () => drawn.choose(at), { class: "plain" }),
      button("Remove", () => drawn.remove(at), { class: "plain", "aria-label": `Remove mask ${at + 1}` }))));
    if (!masks.length) list.replaceChildren(h("li", { class: "hint" }, "No masks"));
  }

  async function send() {
    save.disabled = true;
    line.say("Saving …");
    try {
      await app.api.putMasks(camera.id, drawn.masks);
      camera.masks = drawn.masks;
      line.say("Saved; the recorder follows within seconds.");
    } catch (error) {
      save.disabled = false;
      line.fault(error);
    }
  }
}
