// The control of the trade-off: a slider for two objectives, a triangle for three, a slider each for more.
//
// Every control has `element`, `weights` and `set(weights)`; `changed` is called when the reader moves it.

import { element, svg, tint } from "./elements.js";
import { colour, decimal, hundredths, inWords, mix, normalised } from "./simplex.js";
import { triangle } from "./triangle.js";

export function tradeOff(objectives, changed) {
  const equal = objectives.map(() => 1 / objectives.length);
  const build = { 1: only, 2: between, 3: inTriangle }[objectives.length] ?? oneEach;
  const control = { weights: equal };
  const view = build(objectives, (weights) => {
    control.set(weights);
    changed();
  });
  control.element = view.element;
  control.set = (weights) => {
    control.weights = weights;
    view.show(weights);
  };
  control.set(equal);
  return control;
}

const swatch = (name, j, ...more) => tint(element("span", { class: "swatch" }, name, ...more), colour(j));

function only(objectives) {
  return { element: element("p", { class: "hint" }, `One objective: ${objectives[0]}.`), show() {} };
}

function between(objectives, moved) {
  const numbers = objectives.map(() => element("b"));
  const slider = element("input", {
    type: "range",
    class: "two",
    "aria-label": `Trade-off between ${objectives[0]} and ${objectives[1]}`,
    oninput: () => moved([(100 - slider.value) / 100, slider.value / 100]),
  });
  slider.style.setProperty("--from", colour(0));
  slider.style.setProperty("--to", colour(1));
  const ends = objectives.map((name, j) => swatch(name, j, " ", numbers[j]));
  return {
    element: element("div", {}, element("div", { class: "line" }, ends), slider),
    show(weights) {
      slider.value = 100 * weights[1];
      slider.setAttribute("aria-valuetext", inWords(objectives, weights));
      weights.forEach((w, j) => (numbers[j].textContent = decimal(w)));
    },
  };
}

const TOWARDS = { ArrowLeft: 0, ArrowRight: 1, ArrowUp: 2 };

function inTriangle(objectives, moved) {
  const shape = triangle(300, { x: 24, top: 16, bottom: 14 });
  const numbers = objectives.map(() => element("b"));
  const handle = svg("circle", {
    r: 11,
    class: "handle",
    tabindex: 0,
    role: "slider",
    "aria-roledescription": "triangle",
    "aria-label": `Trade-off between ${objectives.join(", ")}. Left, right and up move towards ${objectives.join(", ")}`,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
  });
  const spokes = shape.corners.map((_, j) => tint(svg("line", { class: "spoke" }), colour(j)));
  const corners = shape.corners.map(([x, y], j) => tint(svg("circle", { cx: x, cy: y, r: 7, class: "corner" }), colour(j)));
  const canvas = svg("svg", { viewBox: `0 0 300 ${shape.height}`, class: "triangle" });
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
    if (event.key in TOWARDS) moved(hundredths(shifted(weights, TOWARDS[event.key], step)));
    else if (event.key === "ArrowDown") moved(hundredths(shifted(weights, 2, -step)));
    else if (event.key === "Home") moved([1 / 3, 1 / 3, 1 / 3]);
    else return;
    event.preventDefault();
  });

  const legend = objectives.map((name, j) => swatch(name, j, " ", numbers[j]));
  return {
    element: element("div", { class: "barycentric" }, canvas, element("div", { class: "legend" }, legend)),
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
        spoke.setAttribute("stroke-width", 1 + 5 * weights[j]);
      });
      weights.forEach((w, j) => (numbers[j].textContent = decimal(w)));
    },
  };
}

// Weight j raised by `step` within the simplex, at the others' cost in proportion; from an empty remainder equally.
function shifted(weights, j, step) {
  const target = Math.min(1, Math.max(0, weights[j] + step));
  const rest = 1 - weights[j];
  return weights.map((w, i) => {
    if (i === j) return target;
    return (1 - target) * (rest > 1e-9 ? w / rest : 1 / (weights.length - 1));
  });
}

function oneEach(objectives, moved) {
  const numbers = objectives.map(() => element("b"));
  const sliders = objectives.map((name, j) => {
    const slider = element("input", { type: "range", "aria-label": `Importance of ${name}`, oninput: read });
    return tint(slider, colour(j));
  });
  function read() {
    moved(normalised(sliders.map((slider) => Number(slider.value))));
  }
  const rows = objectives.map((name, j) => [swatch(name, j), sliders[j], numbers[j]]);
  return {
    element: element("div", { class: "each" }, rows),
    show(weights) {
      // A slider under the reader's hand stays where it is: only its share is shown anew.
      if (!sliders.includes(document.activeElement)) sliders.forEach((slider, j) => (slider.value = 100 * weights[j]));
      sliders.forEach((slider, j) => slider.setAttribute("aria-valuetext", `${slider.value}, a weight of ${decimal(weights[j])}`));
      weights.forEach((w, j) => (numbers[j].textContent = decimal(w)));
    },
  };
}
