// The HTTP contract, one method a call. Knows nothing of the page: it throws ApiError and emits three events:
// "signedout" (the session is over), "gone" (the server does not answer) and "back" (it does again).

export class ApiError extends Error {
  /** `status` is the HTTP status, 0 where no answer came. */
  constructor(status, message) {
    super(message);
    this.name = "ApiError";
    this.status = status;
  }
}

const MEANINGS = {
  403: "You may not do this.",
  404: "Not found.",
  429: "Too many attempts. Wait a minute and try again.",
  503: "The server is busy. Try again shortly.",
};

/** Whether an error only says that whoever asked no longer wants the answer. */
export const isAbort = (error) => error?.name === "AbortError";

export class Api extends EventTarget {
  #gone = false;

  /** The address of a call; undefined and null parameters are left out. */
  url(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const text = new URLSearchParams(given.map(([name, value]) => [name, value === true ? 1 : value === false ? 0 : value]));
    return `/api/${path}${given.length ? `?${text}` : ""}`;
  }

  /** A response with a good status. Throws ApiError, or AbortError when `signal` aborts. */
  async fetch(path, { method = "GET", query, body, signal } = {}) {
    const headers = {};
    if (method !== "GET") headers["X-Fovea"] = "1";
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(this.url(path, query), {
        method, headers, signal, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      this.#reachable(false);
      throw new ApiError(0, "The server cannot be reached.");
    }
    this.#reachable(true);
    if (response.ok || response.status === 304) return response;
    const message = await said(response);
    if (response.status === 401 && path !== "login") this.dispatchEvent(new Event("signedout"));
    throw new ApiError(response.status, message);
  }

  async json(path, options) {
    const response = await this.fetch(path, options);
    return response.status === 204 ? null : response.json();
  }

  #reachable(yes) {
    if (yes !== this.#gone) return;
    this.#gone = !yes;
    this.dispatchEvent(new Event(yes ? "back" : "gone"));
  }

  login(user, password) { return this.json("login", { method: "POST", body: { user, password } }); }
  logout() { return this.json("logout", { method: "POST" }); }
  me(signal) { return this.json("me", { signal }); }
  changePassword(old, fresh) { return this.json("me/password", { method: "POST", body: { old, new: fresh } }); }

  cameras(signal) { return this.json("cameras", { signal }); }
  timeline(camera, from, to, buckets, signal) { return this.json(`cameras/${camera}/timeline`, { query: { from, to, buckets }, signal }); }
  layers(camera, from, to, buckets, signal) { return this.json(`cameras/${camera}/layers`, { query: { from, to, buckets }, signal }); }
  search(query, signal) { return this.json("search", { query, signal }); }

  /** A stored picture: {blob, t, layer}. `query`: t, layer, width, boxes, mask, step (-1 or 1: the frame before or after). */
  frame(camera, query, signal) { return this.#picture(`cameras/${camera}/frame.jpg`, query, signal); }
  /** The newest picture of a camera. */
  latest(camera, width, signal) { return this.#picture(`cameras/${camera}/latest.jpg`, { width }, signal); }
  clip(camera, query, signal) { return this.fetch(`cameras/${camera}/clip.mp4`, { query, signal }); }
  live(camera, width, signal) { return this.fetch(`cameras/${camera}/live.mp4`, { query: { width }, signal }); }

  async #picture(path, query, signal) {
    const response = await this.fetch(path, { query, signal });
    const t = Number.parseFloat(response.headers.get("X-Time"));
    return { blob: await response.blob(), t: Number.isFinite(t) ? t : null, layer: response.headers.get("X-Layer") };
  }

  exports(signal) { return this.json("exports", { signal }); }
  addExport(body) { return this.json("exports", { method: "POST", body }); }
  removeExport(id) { return this.json(`exports/${id}`, { method: "DELETE" }); }
  pins(signal) { return this.json("pins", { signal }); }
  addPin(body) { return this.json("pins", { method: "POST", body }); }
  removePin(id) { return this.json(`pins/${id}`, { method: "DELETE" }); }
  storage(signal) { return this.json("storage", { signal }); }

  cameraSettings(camera, signal) { return this.json(`cameras/${camera}/settings`, { signal }); }
  putCamera(camera, body) { return this.json(`cameras/${camera}`, { method: "PUT", body }); }
  removeCamera(camera) { return this.json(`cameras/${camera}`, { method: "DELETE" }); }
  testCamera(camera, body, signal) { return this.json(`cameras/${camera}/test`, { method: "POST", body, signal }); }
  putMasks(camera, masks) { return this.json(`cameras/${camera}/masks`, { method: "PUT", body: { masks } }); }

  users(signal) { return this.json("users", { signal }); }
  addUser(body) { return this.json("users", { method: "POST", body }); }
  changeUser(name, body) { return this.json(`users/${encodeURIComponent(name)}`, { method: "PATCH", body }); }
  removeUser(name) { return this.json(`users/${encodeURIComponent(name)}`, { method: "DELETE" }); }
  tokens(signal) { return this.json("tokens", { signal }); }
  addToken(body) { return this.json("tokens", { method: "POST", body }); }
  removeToken(id) { return this.json(`tokens/${id}`, { method: "DELETE" }); }
  audit(limit, signal) { return this.json("audit", { query: { limit }, signal }); }
}

async function said(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch { /* not JSON: a proxy's page, say */ }
  return MEANINGS[response.status] ?? `The server answered ${response.status}.`;
}
