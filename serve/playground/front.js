// The measured front as a plot: every point can be chosen, and the trade-offs in use are marked among them.
//
// A front may be measured at several DPO temperatures. Points of those that no column is near stand back.

import { element, svg, tint } from "./elements.js";
import { parallel, scatter, ternary } from "./plots.js";
import { figure, inWords, locate, mix } from "./simplex.js";
import { ratioOf, timesTrained } from "./temperature.js";

const PLACES = {
  measured: "a measured trade-off",
  between: "interpolated between measured trade-offs",
  nearest: "the nearest trade-off that is known",
};

// The ways to look at m objectives, by the name that the chooser shows. The first is the one to begin with.
function views(objectives) {
  const all = {};
  if (objectives.length > 3) all["all objectives"] = { draw: parallel };
  objectives.forEach((x, i) => {
    objectives.slice(i + 1).forEach((y, k) => (all[`${x} and ${y}`] = { draw: scatter, axes: [i, i + 1 + k] }));
  });
  if (objectives.length === 3) {
    objectives.forEach((name, by) => (all[`triangle, coloured by ${name}`] = { draw: ternary, by }));
  }
  return all;
}

const chooser = (label, names, chosen) =>
  element("label", {}, `${label} `, element("select", { onchange: chosen }, names.map((name) => element("option", {}, name))));

export class FrontPlot {
  // `choose(point, letter)` is called with a point's weights and ratio (its temperature as a multiple of the trained one)
  // and the letter of the column that it is for.
  constructor({ root, choosers }, front, choose) {
    const ratio = (point) => ratioOf(point.temperature, front.trained_temperature);
    this.front = { ...front, points: front.points.map((point) => ({ ...point, ratio: ratio(point) })) };
    this.ratios = [...new Set(this.front.points.map((point) => point.ratio))];
    Object.assign(this, { choose, columns: [], views: views(front.objectives), current: 0 });
    const redraw = () => this.draw();
    const metric = chooser("Metric", Object.keys(front.metrics), redraw);
    const view = chooser("View", Object.keys(this.views), redraw);
    view.hidden = Object.keys(this.views).length === 1;
    metric.hidden = Object.keys(front.metrics).length === 1;
    this.metric = metric.querySelector("select");
    this.view = view.querySelector("select");
    this.target = element("fieldset", { class: "target", hidden: "" });
    this.target.append(element("legend", {}, "Points set"));
    for (const letter of ["A", "B"]) {
      const radio = element("input", { type: "radio", name: "target", value: letter });
      radio.checked = letter === "A";
      this.target.append(element("label", {}, radio, ` ${letter}`));
    }
    this.tip = element("div", { class: "tip", "aria-hidden": "true", hidden: "" });
    this.plot = element("div", { class: "plot" });
    this.readout = element("table", { class: "readout" });
    choosers.append(metric, view, this.target);
    root.append(this.plot, this.readout);
    this.plot.addEventListener("keydown", (event) => this.walk(event));
    this.width = 0;
    new ResizeObserver(([entry]) => {
      if (Math.round(entry.contentRect.width) === this.width) return;
      this.width = Math.round(entry.contentRect.width);
      this.draw();
    }).observe(this.plot);
  }

  aim(letter) {
    this.target.querySelector(`[value=${letter}]`).checked = true;
  }

  // Shows where the columns stand: each has letter, weights and ratio.
  show(columns) {
    this.columns = columns;
    this.target.hidden = columns.length < 2;
    if (columns.length < 2) this.aim("A");
    this.marks();
  }

  draw() {
    if (this.width === 0) return;
    const { front, width } = this;
    const metric = this.metric.value;
    const { draw, ...how } = this.views[this.view.value];
    this.drawn = draw({ width, front, metric, ...how });
    this.points = front.points.map((point, i) => this.point(point, i));
    this.overlay = svg("g", { class: "marks" });
    const canvas = svg("svg", { width, height: this.drawn.height, viewBox: `0 0 ${width} ${this.drawn.height}` });
    canvas.setAttribute("role", "group");
    canvas.setAttribute("aria-label", "Measured trade-offs: arrow keys walk along them, Enter chooses");
    canvas.append(this.drawn.ground, ...this.points, this.base(), this.overlay);
    this.plot.replaceChildren(canvas, this.tip);
    this.tip.hidden = true;
    this.marks();
  }

  base() {
    const group = svg("g", { class: "base" });
    if (!this.drawn.base) return group;
    const { shape, x, y } = this.drawn.mark(this.front.metrics[this.metric.value].base);
    const isLine = shape.tagName === "path";
    group.append(isLine ? shape : svg("path", { d: `M${x} ${y - 6}l6 6l-6 6l-6-6Z` }));
    if (!isLine) group.append(svg("text", { x: x + 11, y: y + 4 }, "base"));
    return group;
  }

  point(point, i) {
    const metric = this.metric.value;
    const { shape, x, y } = this.drawn.mark(point.values[metric], point.weights);
    if (!shape.classList.contains("shaded")) tint(shape, mix(point.weights));
    const values = this.front.objectives.map((name, j) => `${name} ${figure(point.values[metric][j])}`).join(", ");
    const reach = shape.cloneNode();
    reach.setAttribute("class", "reach");
    if (shape.tagName === "circle") reach.setAttribute("r", 12);
    const temperature = this.ratios.length > 1 ? `at ${timesTrained(point.ratio)} temperature; ` : "";
    const group = svg("g", {
      class: "point",
      "data-ratio": point.ratio,
      role: "button",
      tabindex: -1,
      "aria-label": `Weights ${inWords(this.front.objectives, point.weights)}; ${temperature}${metric} ${values}`,
      onclick: () => this.take(i),
      onpointerenter: () => this.explain(point, x, y),
      onpointerleave: () => (this.tip.hidden = true),
      onfocus: () => this.explain(point, x, y),
      onblur: () => (this.tip.hidden = true),
    });
    group.append(shape, reach);
    return group;
  }

  take(i) {
    this.choose(this.front.points[i], this.target.querySelector(":checked").value);
  }

  // Takes weights that may lie between the points, at the trained temperature.
  reach(weights) {
    this.choose({ weights, ratio: 1 }, this.target.querySelector(":checked").value);
  }

  // Arrow keys move the focus from point to point, so that the plot is one stop of the tab key.
  walk(event) {
    const point = event.target.closest(".point");
    if (point === null) return;
    const near = this.points.filter((candidate) => !candidate.classList.contains("off"));
    const [i, last] = [near.indexOf(point), near.length - 1];
    const next = { ArrowRight: i + 1, ArrowUp: i + 1, ArrowLeft: i - 1, ArrowDown: i - 1, Home: 0, End: last }[event.key];
    if (event.key === "Enter" || event.key === " ") this.take(this.points.indexOf(point));
    else if (event.key === "Escape") this.tip.hidden = true;
    else if (next === undefined) return;
    else {
      this.stop(near[Math.min(last, Math.max(0, next))]);
      this.points[this.current].focus();
    }
    event.preventDefault();
  }

  stop(point) {
    this.current = this.points.indexOf(point);
    for (const other of this.points) other.setAttribute("tabindex", other === point ? 0 : -1);
  }

  // The measured ratio that is nearest to a column's.
  nearest({ ratio }) {
    const far = (measured) => Math.abs(Math.log(measured / ratio));
    return this.ratios.reduce((best, measured) => (far(measured) < far(best) ? measured : best));
  }

  explain(point, x, y) {
    const { objectives, main } = this.front;
    const metric = this.metric.value;
    const rows = objectives.map((name, j) => [name, `weight ${point.weights[j].toFixed(2)}`, figure(point.values[metric][j])]);
    if (main) rows.push([main.name, main.metric, figure(main.values[this.front.points.indexOf(point)])]);
    const line = (cells) => element("tr", {}, cells.map((cell) => element("td", {}, cell)));
    this.tip.replaceChildren(element("table", {}, rows.map(line)));
    this.tip.hidden = false;
    const half = this.tip.offsetWidth / 2;
    this.tip.style.left = `${Math.min(this.width - half, Math.max(half, x))}px`;
    this.tip.style.top = `${y}px`;
  }

  // Where weights lie among the points of a ratio, or on the curve between those of the trained temperature.
  place(weights, ratio, metric) {
    const among = locate(this.front.points.filter((point) => point.ratio === ratio), weights, metric);
    const { curve } = this.front;
    if (among.how === "measured" || ratio !== 1 || curve?.values[metric] === undefined) return among;
    const along = curve.weights.map((at, k) => ({ weights: at, values: { [metric]: curve.values[metric][k] } }));
    const found = locate(along, weights, metric);
    return { ...found, how: found.how === "nearest" ? "nearest" : "between" };
  }

  marks() {
    if (this.drawn === undefined) return;
    const metric = this.metric.value;
    const near = this.columns.map((column) => this.nearest(column));
    const places = this.columns.map(({ weights }, k) => this.place(weights, near[k], metric));
    for (const node of this.plot.querySelectorAll("[data-ratio]")) {
      node.classList.toggle("off", !near.includes(Number(node.dataset.ratio)));
      node.classList.toggle("covered", !this.drawn.base); // in a triangle they lie on one another
    }
    const first = this.points.find((point) => !point.classList.contains("off"));
    this.stop(this.points[this.current].classList.contains("off") ? first : this.points[this.current]);
    this.overlay.replaceChildren();
    this.columns.forEach(({ letter }, k) => {
      // A triangle has a place for every trade-off; elsewhere the values decide.
      const { shape, x, y } = this.drawn.mark(places[k].values, this.drawn.base ? places[k].weights : this.columns[k].weights);
      if (shape.tagName === "circle") shape.setAttribute("r", 11);
      shape.setAttribute("class", `current ${shape.tagName}`);
      this.overlay.append(shape);
      if (this.columns.length > 1) this.overlay.append(svg("text", { x: x + 14, y: y - 9 }, letter));
    });
    this.write(metric, places, near);
  }

  write(metric, places, near) {
    const { objectives, metrics } = this.front;
    const two = this.columns.length > 1;
    const heading = (words) => element("th", { scope: "col" }, words);
    const head = [heading(metric), heading("base"), this.columns.map(({ letter }) => heading(two ? letter : "here"))];
    const rows = objectives.map((name, j) => [
      element("th", { scope: "row" }, name),
      [metrics[metric].base, ...places.map((place) => place.values)].map((values) => element("td", {}, figure(values[j]))),
    ]);
    const notes = places.map(({ how }, k) => {
      const elsewhere = Math.abs(Math.log(near[k] / this.columns[k].ratio)) > 0.05;
      const temperature = elsewhere ? `, measured at ${timesTrained(near[k])} temperature, not at the one set` : "";
      return `${two ? this.columns[k].letter : "Here"}: ${PLACES[how]}${temperature}.`;
    });
    this.readout.replaceChildren(
      element("caption", {}, notes.join(" ")),
      element("thead", {}, element("tr", {}, head)),
      element("tbody", {}, rows.map((row) => element("tr", {}, row))),
    );
  }
}
