// The control of the trade-off: a slider for two objectives, a triangle for three, a slider each for more.
//
// Every control has `element`, `weights`, `set(weights)` and `read()`; `changed` is called when the reader moves it. Beside
// the slider or the triangle, every weight can be typed.

import { element, svg, tint } from "./elements.js";
import { colour, decimal, fromTyped, hundredths, inWords, mix, normalised } from "./simplex.js";
import { triangle } from "./triangle.js";
import { WeightFields } from "./weights.js";

export function tradeOff(objectives, changed) {
  const equal = objectives.map(() => 1 / objectives.length);
  const build = { 1: only, 2: between, 3: inTriangle }[objectives.length] ?? oneEach;
  const control = { weights: equal };
  const moved = (weights) => {
    control.set(weights);
    changed();
  };
  const fields = new WeightFields(objectives, moved);
  const view = build(objectives, moved, fields);
  control.element = view.element;
  control.set = (weights) => {
    control.weights = weights;
    view.show(weights);
    fields.show(weights);
  };
  // The weights, with what was typed last.
  control.read = () => {
    if (!fields.commit()) throw new Error("A weight cannot be read: it is marked above.");
    return control.weights;
  };
  control.set(equal);
  return control;
}

const swatch = (name, j, field) => tint(element("label", { class: "swatch" }, element("span", {}, name), field), colour(j));

function only(objectives) {
  return { element: element("p", { class: "hint" }, `One objective: ${objectives[0]}.`), show() {} };
}

function between(objectives, moved, fields) {
  const slider = element("input", {
    type: "range",
    class: "two",
    "aria-label": `Trade-off between ${objectives[0]} and ${objectives[1]}`,
    oninput: () => moved([(100 - slider.value) / 100, slider.value / 100]),
  });
  slider.style.setProperty("--from", colour(0));
  slider.style.setProperty("--to", colour(1));
  const ends = objectives.map((name, j) => swatch(name, j, fields.inputs[j]));
  return {
    element: element("div", {}, element("div", { class: "line" }, ends), slider, fields.note),
    show(weights) {
      slider.value = 100 * weights[1];
      slider.setAttribute("aria-valuetext", inWords(objectives, weights));
    },
  };
}

const WIDTH = 172; // of the triangle, in pixels
const TOWARDS = { ArrowLeft: 0, ArrowRight: 1, ArrowUp: 2 };

function inTriangle(objectives, moved, fields) {
  const shape = triangle(WIDTH, { x: 13, top: 11, bottom: 12 });
  const handle = svg("circle", {
    r: 9,
    class: "handle",
    tabindex: 0,
    role: "slider",
    "aria-roledescription": "triangle",
    "aria-label": `Trade-off between ${objectives.join(", ")}. Left, right and up move towards ${objectives.join(", ")}`,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
  });
  const spokes = shape.corners.map((_, j) => tint(svg("line", { class: "spoke" }), colour(j)));
  const corners = shape.corners.map(([x, y], j) => tint(svg("circle", { cx: x, cy: y, r: 5.5, class: "corner" }), colour(j)));
  const canvas = svg("svg", { viewBox: `0 0 ${WIDTH} ${shape.height}`, class: "triangle" });
  canvas.append(svg("path", { d: shape.path, class: "ground" }), ...spokes, ...corners, handle);

  let weights;
  const follow = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(canvas.getScreenCTM().inverse());
    moved(hundredths(shape.weights([point.x, point.y])));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault(); // no text selection
    handle.focus();
    follow(event);
  });
  canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && follow(event));
  handle.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.01 : 0.05;
    if (event.key in TOWARDS) moved(shifted(weights, TOWARDS[event.key], step));
    else if (event.key === "ArrowDown") moved(shifted(weights, 2, -step));
    else if (event.key === "Home") moved([1 / 3, 1 / 3, 1 / 3]);
    else return;
    event.preventDefault();
  });

  const legend = objectives.map((name, j) => swatch(name, j, fields.inputs[j]));
  return {
    element: element("div", { class: "barycentric" }, canvas, element("div", { class: "legend" }, legend, fields.note)),
    show(now) {
      weights = now;
      const [x, y] = shape.place(weights);
      for (const [name, value] of Object.entries({ cx: x, cy: y })) handle.setAttribute(name, value);
      tint(handle, mix(weights));
      handle.setAttribute("aria-valuenow", Math.round(100 * weights[0]));
      handle.setAttribute("aria-valuetext", inWords(objectives, weights));
      spokes.forEach((spoke, j) => {
        const [cx, cy] = shape.corners[j];
        for (const [name, value] of Object.entries({ x1: cx, y1: cy, x2: x, y2: y })) spoke.setAttribute(name, value);
        spoke.setAttribute("stroke-width", 1 + 4 * weights[j]);
      });
    },
  };
}

// Weight j raised by `step` within the simplex, at the others' cost.
function shifted(weights, j, step) {
  return hundredths(fromTyped(weights, new Map([[j, Math.min(1, Math.max(0, weights[j] + step))]])));
}

function oneEach(objectives, moved, fields) {
  const sliders = objectives.map((name, j) => {
    const slider = element("input", { type: "range", "aria-label": `Importance of ${name}`, oninput: read });
    return tint(slider, colour(j));
  });
  function read() {
    moved(normalised(sliders.map((slider) => Number(slider.value))));
  }
  const rows = objectives.map((name, j) => [swatch(name, j), sliders[j], fields.inputs[j]]);
  return {
    element: element("div", {}, element("div", { class: "each" }, rows), fields.note),
    show(weights) {
      // A slider under the reader's hand stays where it is: only its share is shown anew.
      if (!sliders.includes(document.activeElement)) sliders.forEach((slider, j) => (slider.value = 100 * weights[j]));
      sliders.forEach((slider, j) => slider.setAttribute("aria-valuetext", `${slider.value}, a weight of ${decimal(weights[j])}`));
    },
  };
}
