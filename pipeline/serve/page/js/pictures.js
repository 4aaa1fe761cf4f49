// Many small pictures without drowning the server or the browser's few connections: at most three are under way, and
// only those that are on the screen.

import { isAbort } from "./api.js";

const AT_ONCE = 3;

export class Pictures {
  #waiting = [];
  #running = 0;
  #signal;
  #seen = new Map();
  #observer;

  constructor(signal) {
    this.#signal = signal;
    this.#observer = new IntersectionObserver((entries) => {
      for (const entry of entries) this.#seen.get(entry.target)?.(entry.isIntersecting);
    }, { rootMargin: "200px" });
    signal.addEventListener("abort", () => this.#observer.disconnect());
  }

  /** Load a picture into `image` once it comes into view. `load()` resolves to a blob; `failed(error)` hears why not. */
  whenSeen(image, load, failed) {
    this.watch(image, (visible) => {
      if (!visible) return;
      this.unwatch(image);
      this.#enqueue(async () => {
        try {
          await put(image, await load());
        } catch (error) {
          if (!isAbort(error)) failed(error);
        }
      });
    });
  }

  /** Tell `told(visible)` whenever `element` comes into view or leaves it. */
  watch(element, told) {
    this.#seen.set(element, told);
    this.#observer.observe(element);
  }

  unwatch(element) {
    this.#seen.delete(element);
    this.#observer.unobserve(element);
  }

  async #enqueue(job) {
    this.#waiting.push(job);
    if (this.#running >= AT_ONCE) return;
    this.#running += 1;
    while (this.#waiting.length && !this.#signal.aborted) await this.#waiting.shift()();
    this.#running -= 1;
  }
}

/** Show a blob in an <img> and let the one before go. Resolves once it is decoded. */
export async function put(image, blob) {
  const before = image.src;
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
  } finally {
    if (before.startsWith("blob:")) URL.revokeObjectURL(before);
  }
}
