// The triangle of three objectives: weights to places and back. Corners: 0 at the left, 1 at the right, 2 at the top.

export function triangle(width, margin) {
  const side = width - 2 * margin.x;
  const height = (side * Math.sqrt(3)) / 2;
  const corners = [
    [margin.x, margin.top + height],
    [margin.x + side, margin.top + height],
    [margin.x + side / 2, margin.top],
  ];
  return {
    corners,
    height: height + margin.top + margin.bottom,
    path: `M${corners.map((corner) => corner.join(" ")).join("L")}Z`,
    place: (weights) => [0, 1].map((axis) => weights.reduce((sum, w, j) => sum + w * corners[j][axis], 0)),
    weights([x, y]) {
      const top = (corners[0][1] - y) / height;
      const right = (x - corners[0][0]) / side - top / 2;
      return onSimplex([1 - top - right, right, top]);
    },
  };
}

// The nearest point of the simplex to any three numbers that sum to 1.
function onSimplex(numbers) {
  const inside = numbers.map((value) => Math.max(value, 0));
  const negative = numbers.filter((value) => value < 0).length;
  if (negative === 0) return numbers;
  if (negative === 2) return inside.map((value) => (value > 0 ? 1 : 0));
  const over = (inside.reduce((a, b) => a + b, 0) - 1) / 2;
  const cut = numbers.map((value) => (value < 0 ? 0 : Math.max(value - over, 0)));
  const sum = cut.reduce((a, b) => a + b, 0);
  return cut.map((value) => value / sum);
}
