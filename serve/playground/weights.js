// Exact weights: a field per objective, which keeps the weights on the simplex whatever is typed.
//
// What is typed stands as typed until the reader leaves the fields or moves the trade-off elsewhere.

import { element } from "./elements.js";
import { exact, fromTyped } from "./simplex.js";

let count = 0;

export class WeightFields {
  // `moved(weights)` is called with what was typed, and leads to `show(weights)`.
  constructor(objectives, moved) {
    const id = `typed-${(count += 1)}`;
    this.note = element("p", { class: "note", id, role: "status" });
    this.inputs = objectives.map((name) => {
      const more = { class: "weight", inputmode: "decimal", autocomplete: "off", form: "ask" }; // Enter generates
      const listeners = { onchange: () => this.commit(), onfocus: () => input.select(), onblur: (event) => this.left(event) };
      const input = element("input", { ...more, ...listeners, "aria-label": `Weight of ${name}`, "aria-describedby": id });
      return input;
    });
    Object.assign(this, { objectives, moved, typed: new Map(), written: [], before: [] });
  }

  // Takes what was typed since; false where something is no weight, which is then marked.
  commit() {
    const fresh = this.inputs.map((_, j) => j).filter((j) => this.inputs[j].value !== this.written[j]);
    if (fresh.length === 0) return true;
    const values = this.inputs.map((input) => Number(input.value.trim().replace(",", ".") || NaN));
    const wrong = fresh.filter((j) => !(values[j] >= 0 && values[j] < Infinity));
    this.inputs.forEach((input, j) => input.setAttribute("aria-invalid", wrong.includes(j)));
    this.note.classList.toggle("wrong", wrong.length > 0);
    if (wrong.length > 0) {
      const [j] = wrong;
      this.note.textContent = `${this.objectives[j]} cannot be \u201c${this.inputs[j].value}\u201d: type a weight such as 0.7, or parts such as 3 and 1.`;
      return false;
    }
    for (const j of fresh) {
      this.typed.delete(j); // the newest comes last
      this.typed.set(j, values[j]);
      this.written[j] = this.inputs[j].value;
    }
    this.weights = fromTyped(this.before, this.typed);
    const parts = Math.max(...this.typed.values()) > 1;
    for (const [j, value] of this.typed) if (!parts && this.weights[j] !== value) this.typed.delete(j);
    const words = this.objectives.map((_, j) => this.typed.get(j) ?? 0).join(" : ");
    this.note.textContent = parts ? `Parts ${words} make weights ${this.weights.map(exact).join(", ")}.` : "";
    this.moved(this.weights);
    return true;
  }

  show(weights) {
    if (weights !== this.weights) {
      this.forget(weights);
      this.note.textContent = "";
    }
    this.inputs.forEach((input, j) => !this.typed.has(j) && this.write(j, weights[j]));
  }

  left({ relatedTarget }) {
    if (this.inputs.includes(relatedTarget) || !this.commit()) return;
    this.forget(this.weights);
    this.weights.forEach((weight, j) => this.write(j, weight));
  }

  forget(weights) {
    this.typed.clear();
    this.weights = this.before = weights;
  }

  write(j, weight) {
    this.inputs[j].value = this.written[j] = exact(weight);
    this.inputs[j].setAttribute("aria-invalid", "false");
  }
}
