// The colours of css/base.css for what is drawn on a canvas, and news when light turns to dark.

const dark = matchMedia("(prefers-color-scheme: dark)");

/** The values of custom properties, by name without the dashes. */
export function colours(...names) {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

export function onTheme(redraw, signal) {
  dark.addEventListener("change", redraw, { signal });
}

const NAMED = { person: 0, car: 1, truck: 1, bus: 1, motorcycle: 1, train: 1, bicycle: 2, motion: 3, bird: 4, cat: 4, dog: 4 };

/** The colour of a class of objects, the same everywhere on the page. */
export const classColour = (name) => `class-${NAMED[name] ?? 5}`;
export const CLASS_COLOURS = ["class-0", "class-1", "class-2", "class-3", "class-4", "class-5"];

/** A canvas sized to its box and to the screen's pixels; its context in CSS pixels. Null while it has no size. */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return null;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
