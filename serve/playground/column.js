// One trade-off at work: its controls, its answer or ranking, and the request that is running for it.

import { byId } from "./elements.js";
import { copy, curl, python } from "./snippets.js";
import { Speech } from "./speech.js";
import { TemperatureControl } from "./temperature.js";
import { tradeOff } from "./tradeoff.js";

export class Column {
  // `task` says what to ask and how to show it; `changed(column)` is called when the reader moves a control,
  // `busy()` when a request starts or ends.
  constructor(letter, model, task, { changed, busy, drawn }) {
    this.root = byId("column").content.firstElementChild.cloneNode(true);
    const find = (selector) => this.root.querySelector(selector);
    Object.assign(this, { letter, task, busy, controller: null, timer: 0, notice: find(":scope > .notice") });
    this.root.setAttribute("aria-label", `Trade-off ${letter}`);
    find(".name").textContent = letter;
    const control = tradeOff(model.objectives, () => changed(this));
    find(".tradeoff").append(control.element);
    this.tradeOff = control;
    this.temperature = new TemperatureControl(find(".temperature"), model, () => changed(this));
    const speech = new Speech(find(".spoken"));
    this.shown = new task.Output({ output: find(".output"), facts: find(".facts"), speech, drawn });
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
  }

  get running() {
    return this.controller !== null;
  }

  get body() {
    return { ...this.task.body(this.shown), weights: this.weights, ...this.temperature.fields };
  }

  // Runs after a pause in which nothing changes any more.
  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(), this.task.pause);
  }

  async run() {
    clearTimeout(this.timer);
    this.controller?.abort();
    const controller = new AbortController();
    this.controller = controller;
    this.notice.hidden = true;
    this.busy();
    try {
      await this.shown.run(this.body, controller.signal);
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
