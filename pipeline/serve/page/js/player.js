// One camera's footage on a stage: any moment foreground first, then in full; playing at 1 to 16 times its speed; frame by
// frame; and live. The only state is in #state; everything that is shown follows from it in #render.
//
// Events: "time" (detail: t), "change" (playing, layer, ... has changed), "picture" (detail: {layer, t, at}: a picture has
// been drawn at performance.now() `at`).

import { isAbort } from "./api.js";
import { h } from "./dom.js";
import { formatExact, formatTime } from "./format.js";
import { feed, release } from "./stream.js";

const EVER_S = 10 * 366 * 86400; // to the end of the footage, wherever that is: the server sends no faster than is watched
const WIDEST = 1920;
const NEAR_S = 2; // a picture farther from the moment asked for is said to be so: key frames are no farther apart

export const SPEEDS = [1, 2, 4, 8, 16];
const BADGES = {
  loading: "Loading …", buffering: "Buffering …", first: "Foreground first", foreground: "Foreground only", full: "Full picture", live: "Live",
};

export class Player extends EventTarget {
  #api;
  #aged;
  #camera;
  #signal;
  #turn = new AbortController(); // of the seek, step or playback under way
  #state = { t: null, mode: "paused", speed: 1, layer: "full", boxes: false, mask: false, badge: "loading", message: "" };
  #clip = null; // {from, lead, speed}: how media time becomes time of day

  /** `camera`: {id, width, height, fps} as the server lists it. `aged(t)`: whether a moment has lost its background. */
  constructor({ api, camera, aged, signal }) {
    super();
    this.#aged = aged;
    this.#api = api;
    this.#camera = camera;
    this.#signal = signal;
    this.video = h("video", { muted: true, playsInline: true, tabindex: -1, "aria-hidden": "true" });
    this.still = h("canvas", { class: "still", width: camera.width, height: camera.height, role: "img" });
    this.badge = h("span", { class: "badge", role: "status" });
    this.message = h("p", { class: "stage-message", role: "alert" });
    this.element = h("div", { class: "stage" }, this.video, this.still, this.badge, this.message);
    this.element.style.aspectRatio = `${camera.width ?? 16} / ${camera.height ?? 9}`; // unknown until something is recorded
    this.video.addEventListener("waiting", () => { if (this.#clip) this.#set({ badge: "buffering" }); });
    this.video.addEventListener("ended", () => { if (this.#clip) this.#stopWith("The footage ends here."); });
    signal.addEventListener("abort", () => {
      this.#turn.abort();
      release(this.video);
    });
    this.#render();
  }

  get t() { return this.#state.t; }
  get playing() { return this.#state.mode !== "paused"; }
  get live() { return this.#state.mode === "live"; }
  get speed() { return this.#state.speed; }
  get layer() { return this.#state.layer; }
  get boxes() { return this.#state.boxes; }
  get mask() { return this.#state.mask; }

  /** Say why there is nothing to show. */
  nothing(message) { this.#set({ badge: "", message }); }

  /** Show a moment; goes on playing where it was playing. */
  seek(t) {
    performance.mark("fovea:seek");
    this.#moveTo(t);
    return this.#state.mode === "playing" ? this.#play() : this.#show();
  }

  play() {
    if (this.#state.t === null) return;
    this.#set({ mode: "playing" });
    return this.#play();
  }

  /** Stop, and show the very frame that is on the screen. */
  pause() {
    if (this.#state.mode === "paused") return;
    this.#set({ mode: "paused" });
    return this.#show({ both: false });
  }

  /** The frame after (1) or before (-1) the one shown. */
  step(direction) {
    this.#set({ mode: "paused" });
    return this.#show({ both: false, step: direction });
  }

  goLive() {
    this.#set({ mode: "live" });
    return this.#goLive();
  }

  /** Change `speed`, `layer`, `boxes` or `mask`; what is shown follows. */
  change(changes) {
    this.#set(changes);
    if (this.#state.mode === "playing") return this.#play();
    if (this.#state.mode === "paused" && this.#state.t !== null) return this.#show({ both: false });
  }

  // -- stills

  /** The moment as a picture: its foreground over the plate at once, then in full. */
  async #show({ both = true, step } = {}) {
    const signal = this.#begin();
    const { t, layer } = this.#state;
    const layers = both && layer === "full" ? ["foreground", "full"] : [layer];
    this.#set({ badge: "loading", message: "" });
    for (const wanted of layers) {
      try {
        const picture = await this.#api.frame(this.#camera.id, { ...this.#drawing(), t, layer: wanted, step }, signal);
        await this.#draw(picture, { asked: t, wanted, signal });
      } catch (error) {
        return this.#failed(error, step);
      }
    }
  }

  #drawing() {
    const { boxes, mask } = this.#state;
    return { boxes, mask, width: this.#width() };
  }

  /** No more pixels than the stage has. */
  #width() {
    const shown = Math.ceil(this.element.clientWidth * devicePixelRatio / 160) * 160;
    return Math.min(this.#camera.width ?? WIDEST, WIDEST, shown || WIDEST);
  }

  async #draw({ blob, t, layer }, { asked, wanted, signal }) {
    const bitmap = await createImageBitmap(blob);
    signal.throwIfAborted();
    this.still.width = bitmap.width;
    this.still.height = bitmap.height;
    this.still.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.still.hidden = false;
    const shown = layer ?? wanted;
    const badge = shown === "full" ? "full" : wanted === this.#state.layer ? "foreground" : "first";
    const message = t !== null && Math.abs(t - asked) > NEAR_S ? `No footage at ${formatTime(asked)}. This is the nearest picture.` : "";
    if (t !== null && wanted === this.#state.layer) this.#moveTo(t);
    this.#set({ badge, message });
    this.#drawn(shown);
  }

  // -- playing

  async #play() {
    const signal = this.#begin();
    const { t, speed, layer } = this.#state;
    this.#set({ badge: "loading", message: "" });
    try {
      const response = await this.#api.clip(this.#camera.id, { ...this.#drawing(), from: t, to: t + EVER_S, layer, speed }, signal);
      this.#clip = { from: t, lead: header(response, "X-Lead", 0), speed };
      this.#follow(signal);
      await feed(this.video, response, { signal });
    } catch (error) {
      this.#failed(error);
    }
  }

  async #goLive() {
    const signal = this.#begin();
    this.#set({ badge: "loading", message: "" });
    try {
      const response = await this.#api.live(this.#camera.id, this.#width(), signal);
      this.#clip = { from: header(response, "X-Time", null), lead: header(response, "X-Lead", 0), speed: 1 };
      this.#follow(signal);
      await feed(this.video, response, { signal, live: true });
      this.#stopWith("The live picture has ended.");
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Once for each frame that the video shows. */
  #follow(signal) {
    const shown = (_, { mediaTime }) => {
      if (signal.aborted || !this.#clip) return;
      this.still.hidden = true;
      const t = this.#timeOf(mediaTime);
      if (t !== null) this.#moveTo(t);
      const bare = this.#state.layer === "foreground" || this.#aged(this.#state.t);
      const full = this.live ? "live" : bare ? "foreground" : "full";
      const badge = full === "full" && mediaTime < this.#clip.lead ? "first" : full;
      this.#set({ badge, message: "" });
      this.#drawn(badge === "first" || badge === "foreground" ? "foreground" : "full");
      this.video.requestVideoFrameCallback(shown);
    };
    this.video.requestVideoFrameCallback(shown);
  }

  /** The time of day of a moment of the video. A clip begins with `lead` seconds of the foreground-first picture. */
  #timeOf(mediaTime) {
    const { from, lead, speed } = this.#clip;
    return from === null ? null : from + Math.max(0, mediaTime - lead) * speed;
  }

  // -- what all share

  /** End what is under way. The picture on the screen stays until there is another. */
  #begin() {
    this.#keepPicture();
    this.#turn.abort();
    this.#turn = new AbortController();
    this.#clip = null;
    release(this.video);
    return this.#turn.signal;
  }

  #keepPicture() {
    if (!this.still.hidden || !this.video.videoWidth) return;
    this.still.width = this.video.videoWidth;
    this.still.height = this.video.videoHeight;
    this.still.getContext("2d").drawImage(this.video, 0, 0);
    this.still.hidden = false;
  }

  #failed(error, step) {
    if (isAbort(error) || this.#signal.aborted) return;
    if (error.status === 404) return step ? this.#set({ badge: "full", message: "" }) : this.#stopWith("No footage at this time.");
    this.#stopWith(error.message);
  }

  #stopWith(message) {
    this.#begin();
    this.#set({ mode: "paused", badge: "", message });
  }

  #moveTo(t) {
    this.#state.t = t;
    this.still.setAttribute("aria-label", `${this.#camera.id}, ${formatExact(t)}`);
    this.dispatchEvent(new CustomEvent("time", { detail: t }));
  }

  #set(changes) {
    Object.assign(this.#state, changes);
    this.#render();
    if (["mode", "speed", "layer", "boxes", "mask"].some((name) => name in changes)) this.dispatchEvent(new Event("change"));
  }

  #render() {
    const { badge, message } = this.#state;
    if (this.element.dataset.badge !== badge) {
      this.element.dataset.badge = badge;
      this.badge.textContent = BADGES[badge] ?? "";
    }
    if (this.message.textContent !== message) this.message.textContent = message;
    this.message.hidden = !message;
    this.badge.hidden = !badge;
  }

  #drawn(layer) {
    const { t } = this.#state;
    this.dispatchEvent(new CustomEvent("picture", { detail: { layer, t, at: performance.now() } }));
  }
}

function header(response, name, otherwise) {
  const value = Number.parseFloat(response.headers.get(name));
  return Number.isFinite(value) ? value : otherwise;
}
