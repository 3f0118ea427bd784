// One trade-off at work: its controls, its answer or ranking, and the request that is running for it.

import { byId } from "./elements.js";
import { copy, curl, python } from "./snippets.js";
import { Speech } from "./speech.js";
import { TemperatureControl } from "./temperature.js";
import { tradeOff } from "./tradeoff.js";

const LINES = 96; // pixels of an answer that show it: about three lines

export class Column {
  // `task` says what to ask and how to show it; `changed(column)` is called when the reader moves a control,
  // `busy()` when a request starts or ends.
  constructor(letter, model, task, { changed, busy, drawn }) {
    this.root = byId("column").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.root.querySelector(selector);
    Object.assign(this, { letter, task, busy, controller: null, timer: 0, notice: find(".notice"), output: find(".output") });
    this.root.setAttribute("aria-label", `Trade-off ${letter}`);
    find(".name").textContent = letter;
    const control = tradeOff(model.objectives, () => changed(this));
    find(".tradeoff").append(control.element);
    this.tradeOff = control;
    this.temperature = new TemperatureControl(find(".temperature"), model, () => changed(this));
    const speech = new Speech(find(".spoken"));
    this.shown = new task.Output({ output: this.output, facts: find(".facts"), speech, drawn });
    this.shown.node?.setAttribute("aria-label", `Answer ${letter}`);
    for (const button of this.root.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", () => this.copy(button));
    }
  }

  get weights() {
    return this.tradeOff.weights;
  }

  get ratio() {
    return this.temperature.ratio;
  }

  // Goes to a measured trade-off.
  take({ weights, ratio }) {
    this.tradeOff.set(weights);
    this.temperature.set(ratio);
    this.run();
    this.reveal();
  }

  // Whether it is in sight: on a phone, two columns are a row to be swiped.
  get across() {
    const { left, right } = this.root.getBoundingClientRect();
    return left >= 0 && right <= innerWidth;
  }

  // Scrolls to the answer where its first lines are out of sight.
  reveal() {
    const { top } = this.output.getBoundingClientRect();
    if (!this.across || top < 0 || top + LINES > innerHeight) this.output.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  get running() {
    return this.controller !== null;
  }

  get body() {
    return { ...this.task.body(this.shown), weights: this.tradeOff.read(), ...this.temperature.fields };
  }

  // Runs after a pause in which nothing changes any more.
  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), this.task.pause);
  }

  async run() {
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.notice.hidden = true;
    this.busy();
    try {
      const { body } = this;
      clearTimeout(this.timer); // what was typed last is in the body, and asked for a run of its own
      await this.shown.run(body, controller.signal);
    } catch (error) {
      if (this.controller === controller && error.name !== "AbortError") this.fail(error);
    }
    if (this.controller !== controller) return; // a newer run has taken over
    this.controller = null;
    this.busy();
  }

  stop() {
    clearTimeout(this.timer);
    if (!this.running) return;
    this.controller.abort();
    this.controller = null;
    this.shown.stopped();
    this.busy();
  }

  fail(error) {
    this.shown.failed();
    this.notice.textContent = error.message;
    this.notice.hidden = false;
    if (this.across) this.notice.scrollIntoView({ block: "nearest" });
  }

  copy(button) {
    try {
      const { path, field } = this.task;
      const text = button.dataset.copy === "curl" ? curl(path, this.body) : python(path, this.body, field);
      copy(text, button, byId("by-hand"));
    } catch (error) {
      this.fail(error);
    }
  }
}
