// One camera: its picture, its timeline, what was seen, and marks for an export or a pin. Joins the parts; each of them
// knows nothing of the others.

import { stateText, watchCameras } from "../cameras.js";
import { h } from "../dom.js";
import { controls, shortcuts } from "../controls.js";
import { EventList } from "../events.js";
import { exportList } from "../exports.js";
import { Player } from "../player.js";
import { remember } from "../router.js";
import { Selection } from "../selection.js";
import { empty, failure } from "../status.js";
import { Timeline } from "../timeline.js";

const SPAN_S = 3600;
const LEAD_S = 1; // an event is shown from a little before it

export function cameraView({ app, params, query, signal }) {
  const place = h("section", { class: "view camera", "aria-labelledby": "camera-title" }, h("p", { class: "empty" }, "Loading …"));
  open();
  return place;

  async function open() {
    try {
      const camera = (await app.api.cameras(signal)).find(({ id }) => id === params.id);
      if (signal.aborted) return;
      place.replaceChildren(...camera ? build({ app, camera, query, signal }) : [empty(`There is no camera ${params.id}, or you may not see it.`)]);
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(failure(error, open));
    }
  }
}

function build({ app, camera, query, signal }) {
  const { api, status } = app;
  const fault = (error) => status.fault(error);
  const player = new Player({ api, camera, aged, signal });
  const begin = firstMoment(camera, query);
  const timeline = new Timeline({
    view: firstView(camera, begin), signal, fault,
    load: (from, to, buckets, stop) => api.timeline(camera.id, from, to, buckets, stop),
    onSeek: seek, onEvent: pick, onData: (data) => events.show(data, timeline.view),
  });
  const events = new EventList({ onPick: pick });
  const done = exportList({ app, signal, camera: camera.id });
  const selection = new Selection({
    app, camera, now: () => player.t, onChange: (range) => timeline.setSelection(range), onExport: done.refresh,
  });

  /** Where footage has aged the server sends what is left; the timeline knows which that is. */
  function aged(t) {
    return timeline.data.covered.some(([t0, t1, level]) => level !== "full" && t >= t0 && t <= t1);
  }

  function seek(t) {
    timeline.setEvent(null);
    events.choose(null);
    return player.seek(t);
  }

  function pick(event) {
    timeline.setEvent(event.id);
    events.choose(event.id);
    selection.suggest(event);
    return player.seek(Math.max(event.t0 - LEAD_S, begin?.first ?? 0));
  }

  player.addEventListener("time", ({ detail: t }) => timeline.setNow(t));
  player.addEventListener("change", () => note());
  let noted = 0;
  player.addEventListener("picture", () => { if (Date.now() - noted > 1000) note(); });
  function note() {
    noted = Date.now();
    if (player.t !== null && !signal.aborted) remember(`camera/${camera.id}`, player.live ? {} : { t: player.t.toFixed(3), layer: player.layer === "full" ? null : player.layer });
  }

  const state = h("span", { class: `state ${camera.state}` }, stateText(camera, Date.now() / 1000));
  watchCameras(api, { ms: 5000, signal, fault, tell: (cameras) => {
    const found = cameras.find(({ id }) => id === camera.id);
    if (!found) return;
    state.className = `state ${found.state}`;
    state.textContent = stateText(found, Date.now() / 1000);
  } });

  const parts = { player, timeline, events, selection, camera };
  shortcuts({ ...parts, signal });
  if (query.get("layer") === "foreground") player.change({ layer: "foreground" });
  if (begin) seek(begin.t);
  else if (camera.state === "live") player.goLive();
  else player.nothing(camera.state === "stored" ? "Nothing is recorded yet." : "No picture from this camera, and nothing recorded yet.");

  return [
    h("div", { class: "head" }, h("h1", { id: "camera-title" }, camera.id), state),
    h("div", { class: "watch" },
      h("div", { class: "screen" }, player.element, controls(parts)),
      events.element),
    timeline.element,
    selection.element,
    done.element,
  ];
}

/** Where to begin: at the time asked for, live, or shortly before the end of what is stored. Null where there is nothing. */
function firstMoment(camera, query) {
  const asked = Number.parseFloat(query.get("t"));
  if (Number.isFinite(asked)) return { t: asked, first: camera.first };
  if (camera.state === "live" || camera.last === null) return null;
  return { t: Math.max(camera.first ?? 0, camera.last - 10), first: camera.first };
}

/** All of the footage where it is short, else an hour around the moment. */
function firstView(camera, begin) {
  const last = camera.last ?? Date.now() / 1000;
  const length = camera.first ? last - camera.first : SPAN_S;
  const span = Math.max(20, Math.min(SPAN_S, length * 1.1));
  if (begin && (begin.t < last - span * 0.9)) return { from: begin.t - span / 2, to: begin.t + span / 2 };
  return { from: last - span * 0.95, to: last + span * 0.05 };
}
