// Drawing on a picture: a rectangle to search in, polygons to hide behind. Coordinates are shares of the picture, 0 to 1.
// All can be done with keys alone: the corners take the focus and follow the arrows.

import { h } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const STEP = 0.01;
const NEAR = 0.02; // a click this near to the first corner closes a polygon
const LEAST = 0.01;

const limit = (value) => Math.min(1, Math.max(0, value));
const round = (value) => Math.round(value * 10000) / 10000;

function svg(tag, attributes = {}) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** A picture with a drawing over it. {element, image, layer, at(event) -> [x, y]}. */
function easel(image, width, height) {
  const layer = svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", class: "layer" });
  const element = h("div", { class: "easel" }, image, layer);
  element.style.aspectRatio = `${width} / ${height}`;
  const at = (event) => {
    const box = layer.getBoundingClientRect();
    return [round(limit((event.clientX - box.left) / box.width)), round(limit((event.clientY - box.top) / box.height))];
  };
  return { element, layer, at };
}

/** A rectangle over `image`, drawn by dragging. `changed(zone)` hears of [x0, y0, x1, y1], or of null. */
export class ZonePicker {
  #zone = null;
  #changed;

  constructor({ image, width, height, zone, changed }) {
    this.#changed = changed;
    const { element, layer, at } = easel(image, width, height);
    this.element = element;
    this.rect = svg("rect", { class: "zone" });
    layer.append(this.rect);
    let begin = null;
    layer.addEventListener("pointerdown", (event) => {
      begin = at(event);
      layer.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    layer.addEventListener("pointermove", (event) => { if (begin) this.#draw(span(begin, at(event))); });
    layer.addEventListener("pointerup", (event) => {
      if (!begin) return;
      const zone = span(begin, at(event));
      begin = null;
      this.set(zone[2] - zone[0] < LEAST || zone[3] - zone[1] < LEAST ? null : zone);
    });
    this.set(zone, true);
  }

  set(zone, silent = false) {
    this.#zone = zone;
    this.#draw(zone);
    if (!silent) this.#changed(zone);
  }

  #draw(zone) {
    const [x0, y0, x1, y1] = zone ?? [0, 0, 0, 0];
    for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) this.rect.setAttribute(name, value);
  }
}

const span = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];

/**
 * Polygons over `image`. A click sets a corner, one on the first corner (or Enter) closes the polygon, Escape gives it up.
 * Corners are dragged, or moved with the arrow keys; Delete removes one. `changed(masks)` hears of every change.
 */
export class MaskEditor {
  #masks;
  #open = null; // the corners of the polygon that is being drawn
  #drag = null;
  #chosen = 0;
  #changed;
  #at;

  constructor({ image, width, height, masks, changed }) {
    this.#masks = structuredClone(masks);
    this.#changed = changed;
    const { element, layer, at } = easel(image, width, height);
    this.element = element;
    this.layer = layer;
    this.#at = at;
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-label", "Privacy masks. A new mask is added with the button below; Tab reaches its corners, the arrow keys move them, Delete removes them.");
    layer.addEventListener("pointerdown", (event) => this.#down(event));
    layer.addEventListener("pointermove", (event) => this.#move(event));
    layer.addEventListener("pointerup", () => this.#up());
    element.addEventListener("keydown", (event) => this.#key(event));
    this.#render();
  }

  get masks() { return structuredClone(this.#masks); }

  /** A square in the middle, to be moved: how a mask begins without a pointer. */
  add() {
    this.#masks.push([[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]]);
    this.#tell(this.#masks.length - 1);
  }

  remove(at) {
    this.#masks.splice(at, 1);
    this.#tell(0);
  }

  choose(at) {
    this.#chosen = at;
    this.#render();
  }

  #tell(chosen = this.#chosen) {
    this.#chosen = chosen;
    this.#render();
    this.#changed(this.masks);
  }

  #down(event) {
    const corner = event.target.closest("[data-corner]");
    if (corner && !this.#open) {
      this.#drag = [Number(corner.dataset.mask), Number(corner.dataset.corner)];
      this.#chosen = this.#drag[0];
      this.layer.setPointerCapture(event.pointerId);
      return;
    }
    const point = this.#at(event);
    if (!this.#open) {
      const inside = event.target.closest("[data-shape]");
      if (inside) return this.choose(Number(inside.dataset.shape));
      this.#open = [point];
    } else if (this.#open.length > 2 && distance(point, this.#open[0]) < NEAR) return this.#close();
    else this.#open.push(point);
    this.#render();
  }

  #move(event) {
    if (!this.#drag) return;
    const [mask, corner] = this.#drag;
    this.#masks[mask][corner] = this.#at(event);
    this.#render();
  }

  #up() {
    if (!this.#drag) return;
    this.#drag = null;
    this.#tell();
  }

  #close() {
    if (this.#open?.length > 2) this.#masks.push(this.#open);
    this.#open = null;
    this.#tell(this.#masks.length - 1);
  }

  #key(event) {
    if (this.#open && event.key === "Enter") this.#close();
    else if (this.#open && event.key === "Escape") {
      this.#open = null;
      this.#render();
    } else if (event.target.dataset.corner !== undefined) this.#moveCorner(event);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #moveCorner(event) {
    const { mask, corner } = event.target.dataset;
    const points = this.#masks[mask];
    const step = STEP * (event.shiftKey ? 5 : 1);
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (by) points[corner] = points[corner].map((value, axis) => round(limit(value + by[axis])));
    else if (event.key === "Delete" || event.key === "Backspace") {
      points.splice(corner, 1);
      if (points.length < 3) this.#masks.splice(mask, 1);
    } else return;
    this.#tell(Number(mask));
    this.layer.querySelector(`[data-mask="${mask}"][data-corner="${corner}"]`)?.focus();
  }

  #render() {
    const shapes = this.#masks.map((points, at) => svg("polygon", {
      points: points.map((point) => point.join()).join(" "), class: at === this.#chosen ? "mask chosen" : "mask", "data-shape": at,
    }));
    const corners = this.#masks.flatMap((points, mask) => (mask === this.#chosen ? points.map(([x, y], corner) => {
      const label = `Mask ${mask + 1}, corner ${corner + 1}`;
      return handle(this.layer, x, y, { "data-mask": mask, "data-corner": corner, tabindex: 0, role: "button", "aria-label": label });
    }) : []));
    const open = this.#open ? [svg("polyline", { points: this.#open.map((point) => point.join()).join(" "), class: "opening" }),
      ...this.#open.map(([x, y]) => handle(this.layer, x, y))] : [];
    this.layer.replaceChildren(...shapes, ...corners, ...open);
  }
}

/** A corner: an ellipse that is round on the screen although the drawing is stretched. */
function handle(layer, x, y, attributes = {}) {
  const { width, height } = layer.getBoundingClientRect();
  return svg("ellipse", { class: "corner", cx: x, cy: y, rx: 7 / (width || 640), ry: 7 / (height || 360), ...attributes });
}

const distance = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
