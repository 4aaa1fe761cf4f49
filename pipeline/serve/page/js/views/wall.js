// The wall: a tile a camera with its newest picture and what state it is in.

import { STATES, stateText, watchCameras } from "../cameras.js";
import { field, h, repeat, select } from "../dom.js";
import { Pictures, put } from "../pictures.js";
import { href } from "../router.js";
import { empty, failure } from "../status.js";

const TILE_MS = 1000; // between a tile's pictures, where there is a new one
const SIZES = [["small", "Small"], ["medium", "Medium"], ["large", "Large"]];
const SIZE_KEY = "fovea.wall.size";

export function wallView({ app, signal }) {
  const pictures = new Pictures(signal);
  const tiles = new Map();
  const grid = h("div", { class: "wall", "aria-label": "Cameras", role: "list" });
  const counts = h("p", { class: "counts", role: "status" });
  const filter = h("input", { type: "search", placeholder: "Name", on: { input: sift } });
  const size = select(SIZES, localStorage.getItem(SIZE_KEY) ?? "medium", { on: { change: resize } });
  const place = h("div", {}, grid);
  resize();

  function resize() {
    localStorage.setItem(SIZE_KEY, size.value);
    grid.dataset.size = size.value;
  }

  function sift() {
    for (const [id, tile] of tiles) tile.element.hidden = !id.includes(filter.value.trim().toLowerCase());
  }

  function tell(cameras) {
    if (cameras.length === 0) return place.replaceChildren(empty("No cameras yet. Add one under ", h("a", { href: "#/settings/cameras" }, "Settings"), "."));
    const present = new Set(cameras.map((camera) => camera.id));
    for (const [id, tile] of tiles) {
      if (present.has(id)) continue;
      tile.close();
      tiles.delete(id);
    }
    for (const camera of cameras) {
      if (!tiles.has(camera.id)) {
        tiles.set(camera.id, new Tile(app.api, pictures, camera, signal));
        grid.append(tiles.get(camera.id).element);
      }
      tiles.get(camera.id).update(camera);
    }
    if (place.firstChild !== grid) place.replaceChildren(grid); // putting it back would take the focus away
    counts.textContent = summary(cameras);
    sift();
  }

  watchCameras(app.api, {
    signal, tell, fault: (error) => { if (!tiles.size) place.replaceChildren(failure(error)); else app.status.fault(error); },
  });
  return h("section", { class: "view", "aria-labelledby": "wall-title" },
    h("div", { class: "head" }, h("h1", { id: "wall-title" }, "Cameras"), counts,
      h("div", { class: "tools" }, field("Find", filter), field("Size", size))),
    place);
}

function summary(cameras) {
  const parts = Object.entries(STATES).map(([state, label]) => [cameras.filter((camera) => camera.state === state).length, label]);
  return parts.filter(([count]) => count).map(([count, label]) => `${count} ${label.toLowerCase()}`).join(", ");
}

/** One camera. Its pictures come while it is on the screen; a stored camera's is fetched once. */
class Tile {
  #api;
  #camera;
  #visible = false;
  #leave = new AbortController();
  #pictures;
  #shown = null;

  constructor(api, pictures, camera, signal) {
    this.#api = api;
    this.#camera = camera;
    this.#pictures = pictures;
    this.image = h("img", { alt: "", class: "picture" });
    this.note = h("span", { class: "missing" }, "Loading …");
    this.name = h("span", { class: "name" }, camera.id);
    this.state = h("span", { class: "state" });
    this.facts = h("span", { class: "facts" });
    this.frame = h("span", { class: "frame" }, this.image, this.note);
    this.link = h("a", { href: href(`camera/${camera.id}`), class: "tile" }, this.frame,
      h("span", { class: "caption" }, this.name, this.state, this.facts));
    this.element = h("div", { role: "listitem" }, this.link);
    signal.addEventListener("abort", () => this.#leave.abort(), { signal: this.#leave.signal });
    pictures.watch(this.element, (visible) => { this.#visible = visible; });
    repeat(() => this.#refresh(), TILE_MS, this.#leave.signal);
  }

  update(camera) {
    this.#camera = camera;
    const now = Date.now() / 1000;
    this.state.className = `state ${camera.state}`;
    this.state.textContent = STATES[camera.state] ?? camera.state;
    this.facts.textContent = this.#factsText(now);
    this.link.dataset.state = camera.state;
    this.link.setAttribute("aria-label", `${camera.id}: ${stateText(camera, now)}`);
  }

  close() {
    this.#leave.abort();
    this.#pictures.unwatch(this.element);
    this.element.remove();
  }

  #factsText(now) {
    const { state, fps_in: fps, dropped, last, width, height } = this.#camera;
    if (state !== "live") return last ? stateText(this.#camera, now).split(", ")[1] : "no footage";
    return [`${width}×${height}`, fps && `${fps.toFixed(1)} fps`, dropped && `${dropped} dropped`].filter(Boolean).join(" · ");
  }

  async #refresh() {
    if (!this.#visible || this.element.hidden || this.#camera.last === this.#shown && this.#camera.state !== "live") return;
    const width = Math.min(960, Math.ceil(this.frame.clientWidth * devicePixelRatio / 160) * 160) || 320;
    const last = this.#camera.last;
    try {
      const picture = await this.#api.latest(this.#camera.id, width, this.#leave.signal);
      await put(this.image, picture.blob);
      this.#shown = last;
      this.note.hidden = true;
    } catch (error) {
      if (this.#leave.signal.aborted) return;
      // The last picture stays on the tile: its state and age say what it is.
      this.note.textContent = error.status === 404 ? "No picture yet" : error.message;
    }
  }
}
