// Trade-offs: weights on the simplex, as numbers, in words and in colour, and where they lie among measured points.

// Okabe and Ito (2008), as in the report: readable with every common colour blindness.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7a5195"];

export const colour = (objective) => COLOURS[objective % COLOURS.length];

// The objectives' colours mixed by weight: a vertex is pure, the middle is grey.
export function mix(weights) {
  const channel = (k) => weights.reduce((sum, w, j) => sum + w * parseInt(colour(j).slice(k, k + 2), 16), 0);
  return `rgb(${[1, 3, 5].map((k) => Math.round(channel(k))).join(" ")})`;
}

export function normalised(raw) {
  const sum = raw.reduce((a, b) => a + b, 0);
  return raw.map((value) => (sum > 0 ? value / sum : 1 / raw.length));
}

// Weights in hundredths that still sum to 1: what is left over goes to the largest remainders.
export function hundredths(weights) {
  const whole = weights.map((w) => Math.floor(w * 100 + 1e-9));
  const left = 100 - whole.reduce((a, b) => a + b, 0);
  const order = weights.map((w, j) => j).sort((i, j) => weights[j] * 100 - whole[j] - (weights[i] * 100 - whole[i]));
  for (const j of order.slice(0, left)) whole[j] += 1;
  return whole.map((value) => value / 100);
}

const tidy = (weight) => Math.round(weight * 1e10) / 1e10; // no 0.30000000000000004

// Weights from the numbers that were typed for some objectives, oldest first, over the weights there were before.
//
// Up to 1 they are weights, and the other objectives share the rest in proportion; the oldest yields where there is no
// rest for it, or nobody else to take it. Above 1 they are parts of their sum.
export function fromTyped(before, typed) {
  const most = Math.max(...typed.values());
  if (most > 1) return normalised(before.map((_, j) => (typed.get(j) ?? 0) / most)).map(tidy);
  const kept = new Map();
  let rest = 1;
  for (const [j, value] of [...typed].reverse()) {
    if (value > rest || kept.size === before.length - 1) break;
    kept.set(j, value);
    rest = tidy(rest - value);
  }
  const free = before.map((weight, j) => (kept.has(j) ? 0 : weight));
  const shares = normalised(free.some((weight) => weight > 0) ? free : free.map((_, j) => Number(!kept.has(j))));
  return before.map((_, j) => kept.get(j) ?? tidy(rest * shares[j]));
}

// As a field shows a weight.
export const exact = (weight) => String(Number(weight.toFixed(4)));

export const decimal = (weight) => weight.toFixed(2).replace(/^(0|1)\.?0*$/, "$1");

export const inWords = (objectives, weights) =>
  objectives.map((name, j) => `${name} ${decimal(weights[j])}`).join(", ");

// The values of a metric at weights w: measured there, interpolated between two neighbours, or the nearest point's.
export function locate(points, weights, metric) {
  const distance = (point) => Math.hypot(...point.weights.map((w, j) => w - weights[j]));
  const nearest = points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
  if (distance(nearest) < 1e-6) return { how: "measured", values: nearest.values[metric], weights: nearest.weights };
  if (weights.length === 2) {
    const along = [...points].sort((a, b) => a.weights[1] - b.weights[1]);
    const after = along.findIndex((point) => point.weights[1] > weights[1]);
    if (after > 0) {
      const [left, right] = [along[after - 1], along[after]];
      const t = (weights[1] - left.weights[1]) / (right.weights[1] - left.weights[1]);
      const values = left.values[metric].map((value, j) => value + t * (right.values[metric][j] - value));
      return { how: "between", values, weights };
    }
  }
  return { how: "nearest", values: nearest.values[metric], weights: nearest.weights };
}

// A measured value, to three decimals or three digits.
export function figure(value) {
  const text = Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(4);
  return text.replace("-", "\u2212");
}
