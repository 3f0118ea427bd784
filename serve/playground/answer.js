// An answer as it streams in: text, speed and usage. A new one takes the old one's place with its first word.

import { events, request } from "./api.js";
import { element } from "./elements.js";

export class Answer {
  constructor({ output, facts, speech, drawn }) {
    this.shared = element("span", { class: "shared" });
    this.own = element("span", { class: "own" });
    this.node = element("div", { class: "answer", role: "group", tabindex: 0 }, this.shared, this.own);
    output.append(this.node);
    Object.assign(this, { facts, speech, drawn, text: "", common: 0 });
    this.node.dataset.empty = "Generate, or move a control, to see the answer at this trade-off.";
  }

  async run(body, signal) {
    this.node.classList.add("waiting");
    this.facts.textContent = "Waiting for the first word";
    this.speech.restart("Generating");
    const start = performance.now();
    const response = await request("v1/generate", { ...body, stream: true }, signal);
    let [text, first] = ["", null];
    try {
      for await (const event of events(response)) {
        if (signal.aborted) break;
        first ??= performance.now();
        text += event.text;
        this.show(text);
        this.speech.add(event.text);
        this.facts.textContent = "Writing";
        if (event.usage) this.done(event, first - start, performance.now() - start);
      }
    } finally {
      this.node.classList.remove("waiting");
    }
  }

  failed() {
    this.node.classList.remove("waiting");
    this.facts.textContent = "";
  }

  stopped() {
    this.failed();
    this.facts.textContent = "Stopped";
    this.speech.restart("Stopped");
  }

  show(text) {
    this.node.classList.remove("waiting");
    this.text = text;
    this.draw();
    this.drawn();
  }

  // Sets apart the first `common` characters, which another answer has as well.
  share(common) {
    this.common = common;
    this.draw();
  }

  draw() {
    this.shared.textContent = this.text.slice(0, this.common);
    this.own.textContent = this.text.slice(this.common);
  }

  done({ usage, finish_reason: reason }, wait, total) {
    const tokens = `${usage.completion_tokens} token${usage.completion_tokens === 1 ? "" : "s"}`;
    const rate = usage.completion_tokens / (total / 1000);
    const speed = `${rate.toFixed(rate < 10 ? 1 : 0)} tokens/s`;
    const cached = usage.cached_tokens ? ` (${usage.cached_tokens} cached)` : "";
    const parts = [tokens, speed, `first after ${Math.round(wait)} ms`, `prompt ${usage.prompt_tokens}${cached}`];
    if (usage.base_tokens) parts.push(`base ${usage.base_tokens}`);
    if (reason === "length") parts.push("cut at max tokens");
    this.facts.textContent = parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" \u00b7 ");
    this.speech.finish(`Finished, ${tokens}.`);
  }
}

// Where two answers part: the length of what both begin with, in whole words.
export function commonLength(one, other) {
  let length = 0;
  while (length < Math.min(one.length, other.length) && one[length] === other[length]) length += 1;
  if (length === one.length && length === other.length) return length;
  return one.slice(0, length).search(/\S*$/);
}
