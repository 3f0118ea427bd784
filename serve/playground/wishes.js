// A floor or a ceiling for each value: the trade-off moves to the point of the front where all of them hold.

import { choosePoint } from "./choosing.js";
import { element, tint } from "./elements.js";
import { colour, figure } from "./simplex.js";
import { ratioOf } from "./temperature.js";

// What is known of a metric at the trained temperature, along the curve if there is one, as choosing.js takes it.
function knownOf(front, metric) {
  const { curve, main, objectives } = front;
  const trained = front.points.flatMap((point, i) => (Math.abs(ratioOf(point.temperature, front.trained_temperature) - 1) < 1e-6 ? [i] : []));
  const along = curve?.values[metric] !== undefined;
  const weights = along ? curve.weights : trained.map((i) => front.points[i].weights);
  const rows = along ? curve.values[metric] : trained.map((i) => front.points[i].values[metric]);
  const price = main && (along ? curve.main.values : trained.map((i) => main.values[i]));
  const sign = (higher) => (higher ? 1 : -1);
  return {
    weights,
    names: [...objectives, ...(main ? [main.name] : [])],
    better: [...objectives.map(() => sign(front.metrics[metric].higher_is_better)), ...(main ? [sign(main.higher_is_better)] : [])],
    values: rows.map((row, k) => (main ? [...row, price[k]] : row)),
  };
}

// `metric` is the select of the plot's metric; `take(weights)` moves the trade-off.
export function wishes(front, metric, take) {
  const best = element("select", { onchange: choose });
  const bounds = element("div", { class: "bounds" });
  const says = element("p", { class: "hint", role: "status" });
  let known, asked;

  function ask() {
    known = knownOf(front, metric.value);
    const option = (text, value) => element("option", { value }, text);
    best.replaceChildren(option("all together (the knee)", ""), ...known.names.map(option));
    asked = known.names.map((name, j) => {
      const column = known.values.map((row) => row[j]);
      const [low, high] = [Math.min(...column), Math.max(...column)];
      const [worst, most] = known.better[j] > 0 ? [low, high] : [high, low];
      const output = element("output", {}, "any");
      const slider = element("input", { type: "range", min: 0, max: 200, value: 0, "aria-label": `Bound of ${name}`, "aria-valuetext": "any", oninput: moved });
      function moved() {
        const share = slider.value / 200;
        row.bound = share === 0 ? null : worst + share * (most - worst);
        output.textContent = row.bound === null ? "any" : figure(row.bound);
        slider.setAttribute("aria-valuetext", output.textContent);
        choose();
      }
      const label = element("span", { class: "swatch" }, name);
      const row = { j, sign: known.better[j], bound: null, cells: [label, known.better[j] > 0 ? "at least" : "at most", slider, output] };
      if (j < front.objectives.length) for (const part of [label, slider]) tint(part, colour(j));
      return row;
    });
    bounds.replaceChildren(...asked.flatMap(({ cells }) => cells.map((cell) => (cell instanceof Node ? cell : element("span", {}, cell)))));
    says.textContent = "";
  }

  function choose() {
    const wanted = asked.filter(({ bound }) => bound !== null);
    const { index, misses } = choosePoint(known, wanted, best.value === "" ? null : Number(best.value));
    const missed = wanted.flatMap(({ j }, i) => (misses[i] > 1e-9 ? [`${known.names[j]} by ${figure(misses[i])}`] : []));
    const values = known.names.map((name, j) => `${name} ${figure(known.values[index][j])}`).join(", ");
    says.textContent = missed.length ? `No weights hold all of it: the nearest, which miss ${missed.join(", ")}.` : `There: ${values}.`;
    says.classList.toggle("missed", missed.length > 0);
    take(known.weights[index]);
  }

  metric.addEventListener("change", ask);
  ask();
  const among = element("label", {}, "The best of ", best, " where");
  return element("details", { class: "wishes" }, element("summary", {}, "Choose by what must hold"), among, bounds, says);
}
