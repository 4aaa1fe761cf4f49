// How a timeline looks: ticks, what is recorded and how it has aged, activity, events by class, selection, the moment
// shown. Draws what it is given; knows no server and no pointer.

import { formatClock, formatDate, formatMinute } from "./format.js";
import { classColour, colours, CLASS_COLOURS } from "./theme.js";
import { ticks, toX } from "./timescale.js";

const TICKS = 22, BAND = 14, ACTIVITY = 30, LANE = 16, SPACE = 6;
const COLOURS = ["surface", "sunken", "line", "text", "muted", "accent", "band-full", "band-foreground", "band-thinned", "activity", ...CLASS_COLOURS];

/** Height in CSS pixels with so many lanes of events. */
export const heightFor = (lanes) => TICKS + BAND + SPACE + ACTIVITY + SPACE + Math.max(1, lanes) * LANE + 2;

/** Which lane of events is at `y`, or -1. */
export function laneAt(y) {
  const top = TICKS + BAND + SPACE + ACTIVITY + SPACE;
  return y < top ? -1 : Math.floor((y - top) / LANE);
}

/** `state`: {now, selection: {from, to}|null, event: id|null, hover: t|null}. `data` as timeline-data.js keeps it. */
export function paint({ context, width, height }, view, data, lanes, state) {
  const colour = colours(...COLOURS);
  const x = (t) => toX(view, width, t);
  const box = (t0, t1, y, tall) => {
    const left = Math.max(0, x(t0));
    context.fillRect(left, y, Math.max(1, Math.min(width, x(t1)) - left), tall);
  };
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  paintTicks(context, colour, view, width, height);
  let y = TICKS;
  paintBand(context, colour, box, data, y, width);
  y += BAND + SPACE;
  paintActivity(context, colour, x, data, y, width);
  y += ACTIVITY + SPACE;
  paintEvents(context, colour, x, data.events, lanes, y, { width, chosen: state.event });
  if (state.selection) paintSelection(context, colour, x, state.selection, height);
  if (state.hover !== null) line(context, colour.muted, x(state.hover), TICKS, height, 1);
  if (state.now !== null) paintNow(context, colour, x(state.now), height);
}

function paintTicks(context, colour, view, width, height) {
  for (const tick of ticks(view, width)) {
    const at = Math.round(toX(view, width, tick.t)) + 0.5;
    line(context, colour.line, at, TICKS - 5, height, tick.major ? 2 : 1);
    context.fillStyle = tick.major ? colour.text : colour.muted;
    context.fillText(label(tick), at + 3, TICKS / 2 - 1);
  }
}

function label({ t, unit, major }) {
  if (unit === "month") return new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short" }).format(t * 1000);
  if (unit === "day") return new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" }).format(t * 1000);
  if (major) return formatDate(t).replace(/,? \d{4}/, "");
  return unit === "second" ? formatClock(t) : formatMinute(t);
}

/** Full footage is a full band, foreground over the plate half of it, thinned footage dashes: not by colour alone. */
function paintBand(context, colour, box, data, y, width) {
  context.fillStyle = colour.sunken;
  context.fillRect(0, y, width, BAND);
  for (const [t0, t1, level] of data.covered) {
    context.fillStyle = colour[`band-${level}`] ?? colour["band-full"];
    if (level === "full") box(t0, t1, y, BAND);
    else if (level === "foreground") box(t0, t1, y + BAND / 2, BAND / 2);
    else box(t0, t1, y + BAND - 3, 3);
  }
}

function paintActivity(context, colour, x, data, y, width) {
  const most = Math.max(...data.activity, 0);
  context.fillStyle = colour.activity;
  if (most > 0) {
    const step = (data.to - data.from) / data.activity.length;
    for (const [at, value] of data.activity.entries()) {
      if (!value) continue;
      const left = x(data.from + at * step);
      const wide = Math.max(1, x(data.from + (at + 1) * step) - left - 0.5);
      if (left > width || left + wide < 0) continue;
      const tall = Math.max(1.5, Math.sqrt(value / most) * ACTIVITY);
      context.fillRect(left, y + ACTIVITY - tall, wide, tall);
    }
  }
  context.fillStyle = colour.line;
  context.fillRect(0, y + ACTIVITY, width, 1);
}

function paintEvents(context, colour, x, events, lanes, y, { width, chosen }) {
  for (const event of events) {
    const lane = lanes.indexOf(event.class);
    const left = x(event.t0);
    const wide = Math.max(3, x(event.t1) - left);
    if (lane < 0 || left > width || left + wide < 0) continue;
    context.fillStyle = colour[classColour(event.class)];
    context.fillRect(left, y + lane * LANE + 3, wide, LANE - 6);
    if (event.id === chosen) {
      context.strokeStyle = colour.text;
      context.lineWidth = 2;
      context.strokeRect(left - 1, y + lane * LANE + 2, wide + 2, LANE - 4);
    }
  }
  for (const [lane, name] of lanes.entries()) {
    const middle = y + lane * LANE + LANE / 2;
    context.fillStyle = colour.surface;
    context.globalAlpha = 0.8;
    context.fillRect(0, middle - 7, context.measureText(name).width + 8, 14);
    context.globalAlpha = 1;
    context.fillStyle = colour.text;
    context.fillText(name, 4, middle + 0.5);
  }
}

function paintSelection(context, colour, x, { from, to }, height) {
  context.fillStyle = colour.accent;
  context.globalAlpha = 0.18;
  context.fillRect(x(from), TICKS - 4, Math.max(1, x(to) - x(from)), height);
  context.globalAlpha = 1;
  line(context, colour.accent, x(from), TICKS - 4, height, 1.5);
  line(context, colour.accent, x(to), TICKS - 4, height, 1.5);
}

function paintNow(context, colour, at, height) {
  line(context, colour.accent, at, 0, height, 2);
  context.fillStyle = colour.accent;
  context.beginPath();
  context.moveTo(at - 5, 0);
  context.lineTo(at + 5, 0);
  context.lineTo(at, 8);
  context.fill();
}

function line(context, colour, at, y0, y1, wide) {
  context.strokeStyle = colour;
  context.lineWidth = wide;
  context.beginPath();
  context.moveTo(at, y0);
  context.lineTo(at, y1);
  context.stroke();
}
