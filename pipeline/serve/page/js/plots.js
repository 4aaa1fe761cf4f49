// Plots, drawn by uPlot in the page's colours. Each plot follows its box's width and the colour scheme.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h } from "./dom.js";
import { formatBytes, formatClock, formatDate, formatMinute } from "./format.js";
import { colours, onTheme } from "./theme.js";

const HEIGHT = 220;

/**
 * A plot over `data` ([x, y, ...] as uPlot takes it). `series`: {label, colour, fill, dash, width} with the names of custom
 * properties; `value(y)` and `xValue(x)` say what the legend shows. {element, set(data)}.
 */
export function plot({ label, series, data, time = false, value = formatBytes, xValue, xLabel, steps = false, signal }) {
  const place = h("div", { class: "plot", role: "img", "aria-label": label });
  let chart = null;
  let shown = data;
  onTheme(() => draw(), signal);
  const observer = new ResizeObserver(() => { if (place.clientWidth) (chart ? chart.setSize({ width: place.clientWidth, height: HEIGHT }) : draw()); });
  observer.observe(place);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    chart?.destroy();
  });
  return { element: place, set };

  function set(fresh) {
    shown = fresh;
    if (chart) chart.setData(fresh);
  }

  function draw() {
    chart?.destroy();
    const names = series.flatMap((one) => [one.colour, one.fill].filter(Boolean));
    const colour = colours("line", "muted", ...names);
    const axis = { stroke: colour.muted, grid: { stroke: colour.line, width: 1 }, ticks: { stroke: colour.line, width: 1 }, font: "11px system-ui, sans-serif" };
    chart = new uPlot({
      width: place.clientWidth, height: HEIGHT,
      scales: { x: { time }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
      axes: [{ ...axis, ...time ? { values: timeLabels, space: 70 } : { label: xLabel }, labelFont: axis.font, labelSize: 16 }, { ...axis, size: 64, values: (_, ticks) => ticks.map(value) }],
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      series: [xValue ? { label: xLabel, value: (_, x) => (x === null ? "–" : xValue(x)) } : {}, ...series.map((one) => ({
        label: one.label, stroke: colour[one.colour], fill: one.fill ? colour[one.fill] : undefined, width: one.width ?? 1.5, dash: one.dash,
        paths: steps ? uPlot.paths.stepped({ align: 1 }) : undefined, points: { show: false }, value: (_, y) => (y === null ? "–" : value(y)),
      }))],
    }, shown, place);
  }
}

function timeLabels(_, ticks, __, ___, step) {
  return ticks.map(step >= 86400 ? formatDate : step >= 60 ? formatMinute : formatClock);
}
