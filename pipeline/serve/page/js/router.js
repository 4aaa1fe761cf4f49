// Addresses behind the '#': `#/camera/yard?t=1700000000`. Each view gets a signal that aborts when it is left; that ends
// its requests, timers and listeners, so that views need no teardown of their own.

export class Router {
  #routes;
  #show;
  #leave = new AbortController();

  /** `routes`: [pattern, view] with patterns like "camera/:id". `show(route, signal)` puts a view up. */
  constructor(routes, show) {
    this.#routes = routes.map(([pattern, view]) => [pattern.split("/"), view]);
    this.#show = show;
    addEventListener("hashchange", () => this.go());
  }

  /** Show what the address bar says. */
  go() {
    this.#leave.abort();
    this.#leave = new AbortController();
    const { path, query } = parse(location.hash);
    for (const [pattern, view] of this.#routes) {
      const params = match(pattern, path);
      if (params) return this.#show({ view, params, query, path }, this.#leave.signal);
    }
    return this.#show({ view: null, params: {}, query, path }, this.#leave.signal);
  }

  /** End the view that is shown, with nothing in its place. */
  leave() {
    this.#leave.abort();
  }
}

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").map(decodeURIComponent), query: new URLSearchParams(query) };
}

function match(pattern, path) {
  if (pattern.length !== path.length) return null;
  const params = {};
  for (const [at, part] of pattern.entries()) {
    if (part.startsWith(":")) params[part.slice(1)] = path[at];
    else if (part !== path[at]) return null;
  }
  return params;
}

/** The address of a view: `href("camera/yard", {t: 5})`. */
export function href(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return `#/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** Keep what a view shows in the address bar, without a new entry in the history and without showing the view anew. */
export function remember(path, query) {
  history.replaceState(null, "", href(path, query));
}
