// A fragmented MP4 from a response into a <video>, through Media Source Extensions. Reads no further ahead than it must,
// lets go of what was shown, and steps over holes. Knows nothing of cameras and times of day.

import { pause } from "./dom.js";

const AHEAD_S = 12; // read so far ahead of what is shown
const BEHIND_S = 20; // keep so much of what was shown
const LOOK_MS = 200;

/** Whether this browser can show a stream of this type. */
export const canPlay = (type) => "MediaSource" in globalThis && MediaSource.isTypeSupported(type);

/**
 * Feed `response`'s body to `video`, which plays it, until it ends or `signal` aborts. With `live` what is shown is kept at the end of what
 * is there. Resolves when all has been appended. Throws Error where the browser cannot play it.
 */
export async function feed(video, response, { signal, live = false }) {
  const type = response.headers.get("Content-Type");
  if (!canPlay(type)) {
    await response.body.cancel();
    throw new Error(`This browser cannot play ${type}.`);
  }
  const media = new MediaSource();
  const address = URL.createObjectURL(media);
  video.src = address;
  video.play().catch(() => {}); // it is muted, so it may; what ends it before it has begun is told by what ended it
  await once(media, "sourceopen", signal);
  URL.revokeObjectURL(address);
  const buffer = media.addSourceBuffer(type);
  const reader = response.body.getReader();
  signal.addEventListener("abort", () => reader.cancel().catch(() => {}), { once: true });
  watch(video, live, signal);
  for (;;) {
    const { done, value } = await reader.read();
    signal.throwIfAborted();
    if (done) break;
    await append(video, buffer, value, signal);
    while (!live && bufferedAfter(video) > AHEAD_S) await pause(LOOK_MS, signal).then(() => signal.throwIfAborted());
  }
  if (media.readyState === "open") media.endOfStream();
}

/** Give the video's buffers back. */
export function release(video) {
  video.pause();
  video.removeAttribute("src");
  video.load();
}

async function append(video, buffer, bytes, signal) {
  for (;;) {
    try {
      buffer.appendBuffer(bytes);
      await once(buffer, "updateend", signal);
      break;
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      await trim(video, buffer, 2, signal);
      await pause(LOOK_MS, signal);
      signal.throwIfAborted();
    }
  }
  if (buffer.buffered.length && video.currentTime - buffer.buffered.start(0) > 2 * BEHIND_S) await trim(video, buffer, BEHIND_S, signal);
}

async function trim(video, buffer, keep, signal) {
  const until = video.currentTime - keep;
  if (until <= 0) return;
  buffer.remove(0, until);
  await once(buffer, "updateend", signal);
}

/** Seconds between what is shown and the end of what is there, holes included. */
function bufferedAfter(video) {
  const { buffered } = video;
  return buffered.length ? buffered.end(buffered.length - 1) - video.currentTime : 0;
}

/** Steps over holes, and stays at a live camera's heels. */
async function watch(video, live, signal) {
  while (!signal.aborted) {
    const { buffered, currentTime } = video;
    for (let at = 0; at < buffered.length; at += 1) {
      const stuck = at === 0 || currentTime >= buffered.end(at - 1) - 0.1;
      if (currentTime < buffered.start(at) && stuck) {
        video.currentTime = buffered.start(at);
        break;
      }
    }
    if (live && bufferedAfter(video) > 3) video.currentTime = buffered.end(buffered.length - 1) - 0.5;
    await pause(LOOK_MS, signal);
  }
}

function once(target, type, signal) {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const end = (settle, value) => {
      stop.abort();
      settle(value);
    };
    target.addEventListener(type, () => end(resolve), { signal: stop.signal });
    target.addEventListener("error", () => end(reject, new Error("The video could not be decoded.")), { signal: stop.signal });
    signal.addEventListener("abort", () => end(reject, signal.reason), { signal: stop.signal });
    if (signal.aborted) end(reject, signal.reason);
  });
}
