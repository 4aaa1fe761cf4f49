// Elements without a framework. Text always goes in as text nodes, so nothing here can inject markup.

/**
 * Make an element. `props` may hold `class`, `on: {event: listener}`, `dataset`, properties of the element (value,
 * checked, disabled, ...) and attributes; undefined, null and false are left out. Children are nodes, text, or nested lists.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "muted", "playsInline", "open", "indeterminate"]);

/** The shapes of all icons, drawn on a 16x16 grid. They are decoration: the button around one carries the label. */
const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z",
  stepBack: "M11.5 2.5v11L5 8zM3 2.5h1.6v11H3z",
  stepForward: "M4.5 2.5v11L11 8zM11.4 2.5H13v11h-1.6z",
  back: "M8 2.5v11L1.5 8zM14.5 2.5v11L8 8z",
  forward: "M8 2.5v11L14.5 8zM1.5 2.5v11L8 8z",
  plus: "M7 2h2v5h5v2H9v5H7V9H2V7h5z",
  minus: "M2 7h12v2H2z",
  left: "M10.5 2.5v11L4 8z",
  right: "M5.5 2.5v11L12 8z",
  full: "M2 2h5v1.8H3.8V7H2zM9 2h5v5h-1.8V3.8H9zM2 9h1.8v3.2H7V14H2zM12.2 9H14v5H9v-1.8h3.2z",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button. With an icon the label is what screen readers and the tooltip say. */
export function button(label, onClick, { icon: name, ...props } = {}) {
  const naming = name ? { "aria-label": label, title: label } : {};
  return h("button", { type: "button", ...naming, ...props, on: { click: onClick } }, name ? icon(name) : label);
}

/** A labelled form control: `field("Name", h("input", ...), "hint")`. */
export function field(label, control, hint) {
  control.id ||= `field-${++made}`;
  const text = hint ? h("small", { id: `${control.id}-hint`, class: "hint" }, hint) : null;
  if (text) control.setAttribute("aria-describedby", text.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, text);
}
let made = 0;

/** A labelled checkbox. */
export function check(label, props = {}) {
  const box = h("input", { type: "checkbox", ...props });
  return { box, element: h("label", { class: "check" }, box, label) };
}

export function select(options, value, props = {}) {
  const element = h("select", props, options.map(([key, label]) => h("option", { value: key }, label)));
  element.value = value;
  return element;
}

/** A table with a caption that only screen readers see. `rows` are lists of cells; a cell is what `h` takes as a child. */
export function table(caption, columns, rows) {
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.class }, column.label ?? column)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) => h(at === 0 ? "th" : "td",
        { scope: at === 0 ? "row" : undefined, class: columns[at].class }, cell)))))));
}

/** Do `action` now and again `ms` after each time it has ended, until `signal` aborts; not while the page is hidden. */
export async function repeat(action, ms, signal) {
  while (!signal.aborted) {
    if (!document.hidden) await action();
    await pause(ms, signal);
  }
}

/** Resolves after `ms`, or at once when `signal` aborts. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done, { once: true });
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
  });
}

/** Ask before what cannot be undone. Resolves to whether the user agreed. */
export function confirm(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog", "aria-label": question },
      h("form", { method: "dialog" },
        h("p", {}, question),
        h("div", { class: "row end" },
          h("button", { value: "no" }, "Cancel"),
          h("button", { value: "yes", class: "danger" }, action))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
