// What is known of the cameras, asked for again every few seconds while a view wants it.

import { repeat } from "./dom.js";
import { formatDuration } from "./format.js";

export const STATES = { live: "Live", stalled: "Stalled", no_signal: "No signal", stored: "Stored" };

/** Call `tell(cameras)` now and every `ms`, until `signal` aborts. `fault(error)` hears of the first failure in a row. */
export function watchCameras(api, { ms = 2000, signal, tell, fault }) {
  let failing = false;
  return repeat(async () => {
    try {
      const cameras = await api.cameras(signal);
      failing = false;
      if (!signal.aborted) tell(cameras);
    } catch (error) {
      if (!failing && !signal.aborted) fault(error);
      failing = true;
    }
  }, ms, signal);
}

/** `Stalled, last picture 40 s ago`. */
export function stateText(camera, now) {
  const text = STATES[camera.state] ?? camera.state;
  if (camera.state === "live" || !camera.last) return text;
  return `${text}, last picture ${formatDuration(Math.max(0, now - camera.last))} ago`;
}

/** The names of all cameras a user may see, for choices. */
export async function cameraNames(api, signal) {
  return (await api.cameras(signal)).map((camera) => camera.id);
}
