// Cameras of the site file: added, changed, removed; an address can be tried before it is kept.

import { STATES } from "../../cameras.js";
import { button, confirm, field, h, select, table } from "../../dom.js";
import { empty, formLine } from "../../status.js";
import { dialog, form, loaded } from "./lists.js";

const KINDS = [["auto", "Automatic"], ["yolo", "YOLO"], ["motion", "Motion"], ["none", "None"]];
const STEPS = [["background", "Background goes after"], ["thin", "Thinned after"], ["remove", "Removed after"]];

export function camerasPart({ app, signal }) {
  const list = loaded({ signal, load: () => app.api.cameras(signal), draw: (cameras) => [
    cameras.length ? table("Cameras", [{ label: "Camera" }, { label: "State" }, { label: "Picture" }, { label: "" }], cameras.map((camera) => [
      h("a", { href: `#/camera/${camera.id}` }, camera.id), h("span", { class: `state ${camera.state}` }, STATES[camera.state] ?? camera.state),
      camera.width ? `${camera.width}×${camera.height}, ${camera.fps} fps` : "–",
      h("div", { class: "row end" }, h("a", { href: `#/settings/masks?camera=${camera.id}` }, "Masks"),
        button("Change", () => change(camera.id)), button("Remove", () => remove(camera.id), { class: "plain" })),
    ])) : empty("No cameras yet."),
  ] });
  return h("div", { class: "card" },
    h("div", { class: "head" }, h("h2", {}, "Cameras"), button("Add a camera", () => edit({ app, id: null, settings: {}, saved: list.again }), { class: "main" })),
    list.element);

  async function change(id) {
    try {
      edit({ app, id, settings: await app.api.cameraSettings(id, signal), saved: list.again });
    } catch (error) {
      app.status.fault(error);
    }
  }

  async function remove(id) {
    if (!await confirm(`Record ${id} no more? What is stored of it stays until it ages out.`, "Remove")) return;
    try {
      await app.api.removeCamera(id);
      app.status.say(`${id} is removed.`);
    } catch (error) {
      app.status.fault(error);
    }
    list.again();
  }
}

function edit({ app, id, settings, saved }) {
  const { source = {}, detector = {}, codec = {}, retention } = settings;
  const name = h("input", { value: id ?? "", disabled: id !== null, required: true, pattern: "[a-z0-9][a-z0-9_\\-]{0,63}", autocapitalize: "none", spellcheck: "false" });
  const url = h("input", { value: source.url ?? "", required: true, placeholder: "rtsp://user:password@address/stream", autocapitalize: "none", spellcheck: "false" });
  const fps = h("input", { type: "number", min: 0.1, max: 240, step: "any", value: source.fps ?? "" });
  const transport = select([["tcp", "TCP"], ["udp", "UDP"]], source.rtsp_transport ?? "tcp");
  const kind = select(detector.kind === "boxes" ? [...KINDS, ["boxes", "From a file"]] : KINDS, detector.kind ?? "auto");
  const quality = h("input", { type: "number", min: 0, max: 100, step: "any", value: codec.quality ?? 50 });
  const days = STEPS.map(([step, label]) => [step, h("input", { type: "number", min: 0, step: "any", value: retention?.[step]?.days ?? "" }), label]);
  const most = h("input", { type: "number", min: 0.001, step: "any", value: retention?.max_gb ?? "" });
  const result = h("p", { class: "form-line", role: "status" });
  const line = formLine();
  const submit = h("button", { class: "main" }, id ? "Save" : "Add");
  const testing = button("Test", test);

  async function test() {
    testing.disabled = true;
    result.className = "form-line";
    result.textContent = "Testing: this takes up to ten seconds …";
    try {
      const found = await app.api.testCamera(name.value || "new", { url: url.value });
      result.classList.add(found.ok ? "good" : "fault");
      result.textContent = found.ok ? `It answers: ${found.codec}, ${found.width}×${found.height}, ${Math.round(found.fps * 10) / 10} fps` : found.error;
    } catch (error) {
      result.classList.add("fault");
      result.textContent = error.message;
    } finally {
      testing.disabled = false;
    }
  }

  const number = (input) => (input.value === "" ? null : Number(input.value));

  /** The settings as they were, with what the form holds; a key that neither sets stays out. */
  function body() {
    const changed = structuredClone(settings);
    const put = (part, key, value, standard) => {
      if (value === (changed[part]?.[key] ?? standard)) return;
      changed[part] = { ...changed[part], [key]: value };
    };
    put("source", "url", url.value);
    put("source", "fps", number(fps), null);
    put("source", "rtsp_transport", transport.value, "tcp");
    put("detector", "kind", kind.value, "auto");
    put("codec", "quality", number(quality) ?? 50, 50);
    put("retention", "max_gb", number(most), null);
    for (const [step, input] of days) {
      const value = number(input);
      if (value === (changed.retention?.[step]?.days ?? null)) continue;
      changed.retention = { ...changed.retention, [step]: { ...changed.retention?.[step], days: value } };
    }
    return changed;
  }

  const box = dialog(id ? `Change ${id}` : "Add a camera", form({}, { line, submit, send: async () => {
    line.say("Saving …");
    await app.api.putCamera(name.value, body());
    app.status.say(id ? `${id} is changed; the recorder follows within seconds.` : `${name.value} is added; the recorder follows within seconds.`);
    box.close();
    saved();
  } },
  field("Name", name, id ? null : "Lower-case letters, digits, - and _"),
  field("Address", url, id ? "Passwords show as ***; leave them so to keep them." : "rtsp://, http://, v4l2:// or demo://street"),
  h("div", { class: "row" }, testing, result),
  h("div", { class: "fields" }, field("Detector", kind), field("Quality, 0 to 100", quality), field("Frames a second, at most", fps), field("RTSP over", transport)),
  h("fieldset", {}, h("legend", {}, "How long footage stays (empty: as the site's settings say)"),
    h("div", { class: "fields" }, days.map(([, input, label]) => field(`${label}, days`, input)), field("At most, GB", most))),
  line.element,
  h("div", { class: "row end" }, button("Cancel", () => box.close()), submit)));
}
