// The buttons under a player, and the keys that do the same.

import { button, h, icon, select } from "./dom.js";
import { formatExact } from "./format.js";
import { SPEEDS } from "./player.js";

const SKIP_S = 10;

const KEYS = [
  ["Space, K", "play or pause"], ["J, L", "10 seconds back, forward"], [", .", "frame back, forward"], ["1 … 5", "speed 1× to 16×"],
  ["F", "foreground only"], ["B, M", "boxes, mask"], ["N, P", "next, previous event"], ["I, O", "mark start, end"], ["V", "live"],
];

export function controls({ player, camera }) {
  const play = button("Play", () => toggle(player), { icon: "play", class: "main" });
  const time = h("span", { class: "time" });
  const speed = select(SPEEDS.map((value) => [value, `${value}×`]), 1, { "aria-label": "Speed", on: { change: () => player.change({ speed: Number(speed.value) }) } });
  const live = button("Live", () => player.goLive(), { "aria-pressed": "false" });
  live.hidden = camera.state === "stored";
  const layer = switcher("Foreground only", (on) => player.change({ layer: on ? "foreground" : "full" }));
  const boxes = switcher("Boxes", (on) => player.change({ boxes: on }));
  const mask = switcher("Mask", (on) => player.change({ mask: on }));

  player.addEventListener("time", ({ detail: t }) => { time.textContent = formatExact(t); });
  player.addEventListener("change", render);
  function render() {
    const label = player.playing ? "Pause" : "Play";
    rename(play, label, player.playing ? "pause" : "play");
    speed.value = player.speed;
    live.setAttribute("aria-pressed", player.live);
    for (const [name, box] of [["layer", layer], ["boxes", boxes], ["mask", mask]]) {
      box.setAttribute("aria-checked", name === "layer" ? player.layer === "foreground" : player[name]);
    }
  }

  return h("div", { class: "controls", role: "group", "aria-label": "Player" },
    h("div", { class: "row" },
      button("Back 10 seconds", () => skip(player, -SKIP_S), { icon: "back" }),
      button("Frame back", () => player.step(-1), { icon: "stepBack" }),
      play,
      button("Frame forward", () => player.step(1), { icon: "stepForward" }),
      button("Forward 10 seconds", () => skip(player, SKIP_S), { icon: "forward" }),
      speed, live),
    time,
    h("div", { class: "row" }, layer, boxes, mask,
      button("Full screen", () => player.element.requestFullscreen(), { icon: "full" }),
      h("details", { class: "keys" }, h("summary", {}, "Keys"),
        h("dl", {}, KEYS.map(([keys, what]) => h("div", {}, h("dt", {}, keys), h("dd", {}, what)))))));
}

function switcher(label, change) {
  const element = h("button", { type: "button", role: "switch", class: "switch", "aria-checked": "false" }, label);
  element.addEventListener("click", () => change(element.getAttribute("aria-checked") !== "true"));
  return element;
}

function rename(element, label, name) {
  if (element.title === label) return;
  element.title = label;
  element.setAttribute("aria-label", label);
  element.replaceChildren(icon(name));
}

const toggle = (player) => (player.playing ? player.pause() : player.play());
const skip = (player, seconds) => { if (player.t !== null) player.seek(player.t + seconds); };

/** The keys of the camera's page. They stay away from form fields, and from buttons what presses them. */
export function shortcuts({ player, events, selection, signal }) {
  const keys = {
    " ": () => toggle(player), k: () => toggle(player),
    j: () => skip(player, -SKIP_S), l: () => skip(player, SKIP_S),
    ",": () => player.step(-1), ".": () => player.step(1),
    f: () => player.change({ layer: player.layer === "full" ? "foreground" : "full" }),
    b: () => player.change({ boxes: !player.boxes }), m: () => player.change({ mask: !player.mask }),
    n: () => events.move(1, player.t), p: () => events.move(-1, player.t),
    i: () => selection.markStart(), o: () => selection.markEnd(),
    v: () => player.goLive(),
  };
  SPEEDS.forEach((speed, at) => { keys[at + 1] = () => player.change({ speed }); });
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog")) return;
    if (key === " " && target.closest("button, a, summary")) return;
    const action = keys[key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }, { signal });
}
