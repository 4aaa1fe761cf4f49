// The arithmetic of a timeline: what is in view, zooming, panning, where the ticks are. Plain numbers in and out, no page.
// A view is {from, to} in Unix seconds.

export const NARROWEST = 10; // seconds
export const WIDEST = 10 * 366 * 86400;

/** A view of at least NARROWEST and at most WIDEST seconds around the same middle. */
export function clamp({ from, to }) {
  const span = Math.min(WIDEST, Math.max(NARROWEST, to - from));
  const middle = (from + to) / 2;
  return { from: middle - span / 2, to: middle + span / 2 };
}

/** Zoom so that `t` stays where it is on the screen. A factor above 1 shows more time. */
export function zoom({ from, to }, factor, t) {
  const span = Math.min(WIDEST, Math.max(NARROWEST, (to - from) * factor));
  const share = (t - from) / (to - from);
  return { from: t - share * span, to: t + (1 - share) * span };
}

export const pan = ({ from, to }, seconds) => ({ from: from + seconds, to: to + seconds });

/** A view `span` seconds wide around `t`. */
export const around = (t, span) => clamp({ from: t - span / 2, to: t + span / 2 });

export const toX = ({ from, to }, width, t) => (t - from) / (to - from) * width;
export const toTime = ({ from, to }, width, x) => from + x / width * (to - from);

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const STEPS = [
  1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY,
];
const MONTHS = [1, 3, 6, 12, 24, 60];

/**
 * Ticks at round local times, at least `gap` pixels apart: {t, unit, major}. `unit` is what tells neighbours apart
 * ("second", "minute", "day" or "month"); a major tick begins a day (or a month, or a year).
 */
export function ticks(view, width, gap = 90) {
  const least = (view.to - view.from) / width * gap;
  const step = STEPS.find((seconds) => seconds >= least);
  if (step === undefined) return months(view, MONTHS.find((count) => count * 30 * DAY >= least) ?? MONTHS.at(-1));
  return step >= DAY ? days(view, step / DAY) : clockTimes(view, step);
}

function clockTimes(view, step) {
  const found = [];
  // From local midnight, so that 6-hour ticks stand at 6, 12 and 18 in every zone, and anew each day: daylight saving
  // shifts what follows it.
  for (let day = midnight(view.from); day.getTime() / 1000 <= view.to; day = dayAfter(day, 1)) {
    const begin = day.getTime() / 1000;
    const end = dayAfter(day, 1).getTime() / 1000;
    const first = Math.max(0, Math.ceil((view.from - begin) / step));
    for (let t = begin + first * step; t < end - step / 2 && t <= view.to; t += step) {
      found.push({ t, unit: step < MINUTE ? "second" : "minute", major: t === begin });
    }
  }
  return found;
}

function days(view, step) {
  const found = [];
  const day = midnight(view.from);
  // A fixed origin keeps the ticks where they are while the view is moved.
  const origin = Math.floor(Date.UTC(day.getFullYear(), day.getMonth(), day.getDate()) / 1000 / DAY);
  let at = dayAfter(day, -(((origin % step) + step) % step));
  for (; at.getTime() / 1000 <= view.to; at = dayAfter(at, step)) {
    const t = at.getTime() / 1000;
    if (t >= view.from) found.push({ t, unit: "day", major: at.getDate() <= step });
  }
  return found;
}

function months(view, step) {
  const begin = new Date(view.from * 1000);
  const found = [];
  for (let at = new Date(begin.getFullYear(), 0, 1); at.getTime() / 1000 <= view.to; at = new Date(at.getFullYear(), at.getMonth() + step, 1)) {
    const t = at.getTime() / 1000;
    if (t >= view.from) found.push({ t, unit: "month", major: at.getMonth() === 0 });
  }
  return found;
}

function midnight(t) {
  const at = new Date(t * 1000);
  return new Date(at.getFullYear(), at.getMonth(), at.getDate());
}

const dayAfter = (day, count) => new Date(day.getFullYear(), day.getMonth(), day.getDate() + count);
