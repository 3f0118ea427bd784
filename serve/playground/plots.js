// Three ways to draw a front: a scatter of two objectives, a triangle coloured by one, and parallel axes for all.
//
// Each takes {width, front, metric, ...} and gives {height, ground, mark(values, weights)}: `ground` are the axes, a mark
// is {shape, x, y}, the shape of one trade-off and the place that its tooltip and letter point at. More is always up or
// to the right: axes of metrics where less is better are reversed, and say so.

import { svg, tint } from "./elements.js";
import { colour, figure } from "./simplex.js";
import { triangle } from "./triangle.js";

const text = (x, y, anchor, words, more = {}) => svg("text", { x, y, "text-anchor": anchor, ...more }, words);

// An objective's name, with its colour before it.
const name = (x, y, anchor, objective, j, after = "") =>
  text(x, y, anchor, [tint(svg("tspan", { class: "key" }, "\u25cf "), colour(j)), objective + after], { class: "name" });

const direction = (front, metric) =>
  front.metrics[metric].higher_is_better ? "more is better" : "less is better, reversed";

function scale(values, better, from, to, margin = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = (high - low || Math.abs(high) || 1) * margin;
  const [worst, best] = better ? [low - pad, high + pad] : [high + pad, low - pad];
  const at = (value) => from + ((value - worst) / (best - worst)) * (to - from);
  return { at, ticks: ticks(low - pad, high + pad) };
}

function ticks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: count }, (_, k) => {
    const value = (Math.ceil(low / step - 1e-9) + k) * step;
    return { value, label: value.toFixed(digits).replace("-", "\u2212") };
  });
}

const column = (front, metric, j) =>
  [front.metrics[metric].base[j], ...front.points.map((point) => point.values[metric][j])];

export function scatter({ width, front, metric, axes: [i, j] }) {
  const height = Math.round(Math.min(width * 0.78, 400));
  const [left, right, top, bottom] = [48, width - 14, 34, height - 46];
  const better = front.metrics[metric].higher_is_better;
  const x = scale(column(front, metric, i), better, left, right);
  const y = scale(column(front, metric, j), better, bottom, top);
  const names = front.objectives;
  const ground = svg("g", { class: "axes" });
  for (const { value, label } of x.ticks) {
    ground.append(svg("path", { d: `M${x.at(value)} ${top}V${bottom}` }), text(x.at(value), bottom + 16, "middle", label));
  }
  for (const { value, label } of y.ticks) {
    ground.append(svg("path", { d: `M${left} ${y.at(value)}H${right}` }), text(left - 8, y.at(value) + 4, "end", label));
  }
  ground.append(
    name(2, 14, "start", names[j], j, " \u2191"),
    text(width - 14, 14, "end", `${metric}: ${direction(front, metric)}`),
    name(right, height - 8, "end", names[i], i, " \u2192"),
  );
  if (names.length === 2) {
    for (const ratio of new Set(front.points.map((point) => point.ratio))) {
      const along = front.points.filter((point) => point.ratio === ratio).map((point) => point.values[metric]);
      const path = along.map((values) => `${x.at(values[0])} ${y.at(values[1])}`).join("L");
      ground.append(svg("path", { d: `M${path}`, class: "joined", "data-ratio": ratio }));
    }
  }
  const mark = (values) => {
    const [cx, cy] = [x.at(values[i]), y.at(values[j])];
    return { shape: svg("circle", { cx, cy, r: 6 }), x: cx, y: cy };
  };
  return { height, ground, mark, base: true };
}

export function ternary({ width, front, metric, by }) {
  const across = Math.min(width, 400);
  const shape = triangle(across, { x: 26, top: 48, bottom: 84 });
  const shift = (width - across) / 2;
  const values = column(front, metric, by);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const better = front.metrics[metric].higher_is_better;
  const share = (value) => {
    const up = high === low ? 0.5 : (value - low) / (high - low);
    return better ? up : 1 - up;
  };
  const shade = (node, value) => {
    tint(node, colour(by)).classList.add("shaded");
    node.style.setProperty("--share", `${Math.round(100 * share(value))}%`);
    return node;
  };
  const ground = svg("g", { class: "axes" }, svg("path", { d: shape.path, transform: `translate(${shift} 0)` }));
  front.objectives.forEach((objective, j) => {
    const [x, y] = shape.corners[j];
    const anchor = ["start", "end", "middle"][j];
    const at = [shift, shift + across, shift + x][j];
    ground.append(name(at, j === 2 ? y - 14 : y + 26, anchor, objective, j));
  });
  ground.append(text(0, 14, "start", `coloured by ${front.objectives[by]} ${metric}`));
  const y = shape.height - 12;
  const ends = better ? [low, high] : [high, low];
  const steps = Array.from({ length: 9 }, (_, k) => ends[0] + ((ends[1] - ends[0]) * k) / 8);
  steps.forEach((value, k) => ground.append(shade(svg("rect", { x: 56 + 12 * k, y: y - 10, width: 12, height: 10 }), value)));
  const base = 56 + 108 * share(front.metrics[metric].base[by]);
  ground.append(
    text(48, y, "end", figure(ends[0])),
    text(172, y, "start", `${figure(ends[1])}, better`),
    svg("path", { d: `M${base} ${y - 15}v18`, class: "tick" }),
    text(base, y - 18, "middle", "base"),
  );
  const mark = (measured, weights) => {
    const [x, y] = shape.place(weights);
    return { shape: shade(svg("circle", { cx: shift + x, cy: y, r: 7 }), measured[by]), x: shift + x, y };
  };
  return { height: shape.height, ground, mark, base: false };
}

export function parallel({ width, front, metric }) {
  const m = front.objectives.length;
  const [left, right, top, bottom] = [34, width - 34, 88, 330];
  const better = front.metrics[metric].higher_is_better;
  const at = (j) => left + ((right - left) * j) / (m - 1);
  const scales = front.objectives.map((_, j) => scale(column(front, metric, j), better, bottom, top, 0));
  const ground = svg("g", { class: "axes" }, text(0, 14, "start", `${metric}: ${direction(front, metric)}`));
  front.objectives.forEach((objective, j) => {
    const values = column(front, metric, j);
    const ends = [Math.min(...values), Math.max(...values)];
    const anchor = j === 0 ? "start" : j === m - 1 ? "end" : "middle";
    const x = j === 0 ? 0 : j === m - 1 ? width : at(j);
    ground.append(
      svg("path", { d: `M${at(j)} ${top}V${bottom}` }),
      name(x, j % 2 ? 58 : 40, anchor, objective, j),
      text(at(j), bottom + 18, "middle", figure(better ? ends[0] : ends[1])),
      text(at(j), top - 6, "middle", figure(better ? ends[1] : ends[0])),
    );
  });
  const mark = (values) => {
    const places = values.map((value, j) => [at(j), scales[j].at(value)]);
    const line = svg("path", { d: `M${places.map((place) => place.join(" ")).join("L")}`, class: "line" });
    return { shape: line, x: places[m - 1][0], y: places[m - 1][1] };
  };
  return { height: bottom + 26, ground, mark, base: true };
}

