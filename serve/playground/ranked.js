// A list of documents as the ranker orders it. Rows move to their new places, and say how far they are from the base's.

import { request } from "./api.js";
import { element } from "./elements.js";
import { figure } from "./simplex.js";

const SHOWN = 4; // features per row
const DURATION = 350; // milliseconds of a move
const SPEAK = 800; // milliseconds without a new order after which a screen reader hears of it

export class Ranked {
  constructor({ output, facts, speech }) {
    this.body = element("tbody");
    this.head = element("tr");
    const table = element("table", { class: "ranked" }, element("thead", {}, this.head), this.body);
    output.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Ranked documents" }, table));
    Object.assign(this, { facts, speech, rows: [], features: null, names: [] });
  }

  async run(body, signal) {
    const response = await request("v1/rank", body, signal);
    const answer = await response.json();
    if (signal.aborted) return;
    if (this.features !== body.features) this.build(body.features);
    this.reorder(answer);
  }

  failed() {}

  stopped() {}

  build(features) {
    this.features = features;
    const columns = varying(features);
    const names = columns.map((k) => element("th", { scope: "col", class: "feature" }, this.names[k]));
    const heading = (text) => element("th", { scope: "col" }, text);
    this.head.replaceChildren(heading("Rank"), heading("Change"), heading("Document"), heading("Score"), ...names);
    this.rows = features.map((values, i) => {
      const cells = { rank: element("td"), change: element("td"), score: element("td") };
      const shown = columns.map((k) => element("td", { class: "feature" }, cell(features, i, k)));
      const name = element("th", { scope: "row" }, `document ${i + 1}`);
      return { cells, node: element("tr", {}, cells.rank, cells.change, name, cells.score, shown) };
    });
    this.body.replaceChildren(...this.rows.map((row) => row.node));
  }

  reorder({ order, base_order: base, scores }) {
    const before = this.rows.map((row) => row.node.getBoundingClientRect().top);
    const baseRank = new Map(base.map((document, rank) => [document, rank]));
    let moved = 0;
    order.forEach((document, rank) => {
      const { cells } = this.rows[document];
      const up = baseRank.get(document) - rank;
      moved += up !== 0;
      cells.rank.textContent = rank + 1;
      cells.score.textContent = figure(scores[document]);
      cells.change.textContent = up === 0 ? "\u2013" : `${up > 0 ? "\u25b2" : "\u25bc"} ${Math.abs(up)}`;
      cells.change.className = up === 0 ? "same" : up > 0 ? "up" : "down";
      cells.change.setAttribute("aria-label", up === 0 ? "as the base" : `${up > 0 ? "up" : "down"} ${Math.abs(up)}`);
    });
    this.body.append(...order.map((document) => this.rows[document].node));
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.rows.forEach((row, i) => slide(row.node, before[i]));
    const words = `${moved} of ${order.length} documents stand elsewhere than in the base's order`;
    this.facts.textContent = words;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.speech.restart(`${words}. First: document ${order[0] + 1}.`), SPEAK);
  }
}

function slide(node, before) {
  for (const running of node.getAnimations()) running.cancel();
  const far = before - node.getBoundingClientRect().top;
  if (far === 0) return;
  const frames = [{ transform: `translateY(${far}px)` }, { transform: "none" }];
  node.animate(frames, { duration: DURATION, easing: "ease-out" });
}

// Counts as they are, anything else to two decimals.
function cell(features, i, k) {
  const digits = features.every((row) => Number.isInteger(row[k])) ? 0 : 2;
  return features[i][k].toFixed(digits).replace("-", "\u2212");
}

// The first features that differ between documents: constant ones tell a reader nothing.
function varying(features) {
  const differs = (k) => features.some((row) => row[k] !== features[0][k]);
  return features[0].map((_, k) => k).filter(differs).slice(0, SHOWN);
}
