// Making elements. Attributes that start with "on" are listeners; null and undefined children are left out.

export const byId = (id) => document.getElementById(id);

export const element = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Gives a node a colour of its own, which the style sheet lightens on dark paper.
export function tint(node, colour) {
  node.classList.add("tint");
  node.style.setProperty("--c", colour);
  return node;
}

function fill(node, attributes = {}, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null));
  return node;
}
