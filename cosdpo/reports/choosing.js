// The point where something must hold, as evaluation/choosing.py finds it. The report includes this file, and the
// playground loads it.

// Args:
//   weights [K][m], values [K][k]: what is known of the front; the first m values are the objectives'.
//   better [k]: 1 where more is better, else -1.
//   bounds: {j, bound, sign}: value j at least (sign 1) or at most (sign -1) so much.
//   best: what shall be best then, a place among the k values, or null for the knee.
// Returns the place of the point among the K, and by how much it misses each bound.
export function choosePoint({ weights, values, better }, bounds, best) {
  const gains = values.map((row) => row.map((value, j) => better[j] * value));
  const ends = better.map((_, j) => gains.map((row) => row[j])).map((column) => [Math.min(...column), Math.max(...column)]);
  const reach = ends.map(([low, high]) => high - low || 1);
  const share = (row, j) => (row[j] - ends[j][0]) / reach[j];
  const lacks = values.map((row) => bounds.map(({ j, bound, sign }) => Math.max(0, sign * (bound - row[j]))));
  const worst = lacks.map((row) => Math.max(0, ...row.map((lack, i) => lack / reach[bounds[i].j])));
  const wanted = gains.map((row) => (best === null ? weights[0].reduce((sum, _, j) => sum + share(row, j), 0) : share(row, best)));
  const least = Math.min(...worst) + 1e-12;
  const allowed = worst.flatMap((lack, i) => (lack <= least ? [i] : []));
  const index = allowed.reduce((first, i) => (wanted[i] > wanted[first] ? i : first));
  return { index, misses: lacks[index] };
}
