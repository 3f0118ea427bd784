// The DPO temperature, as a slider over the logarithm of its ratio to the trained one: right of the middle is beyond.

const STEPS = 20; // on each side of the trained temperature
const SMALLEST_RATIO = 0.1; // where the service names no smallest temperature

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;

export const timesTrained = (ratio) => (ratio === 1 ? "the trained" : `${Number(ratio.toPrecision(2))}\u00d7 the trained`);

// A temperature as a multiple of the trained one, free of rounding errors: equal multiples are equal numbers.
export const ratioOf = (temperature, trained) => Math.round((1e6 * mean(temperature)) / mean([trained].flat())) / 1e6;

export class TemperatureControl {
  constructor(root, model, changed) {
    this.trained = [model.trained_temperature].flat();
    this.smallest = model.smallest_temperature ?? SMALLEST_RATIO * mean(this.trained);
    this.ratioAtEnd = (1.0001 * this.smallest) / mean(this.trained); // a hair above: rounding must not go below
    this.slider = root.querySelector("input");
    this.words = root.querySelector(".value");
    this.ratio = 1;
    Object.assign(this.slider, { min: -STEPS, max: STEPS, value: 0 });
    this.slider.setAttribute("aria-label", "DPO temperature");
    this.slider.addEventListener("input", () => {
      this.ratio = this.ratioAtEnd ** (this.slider.value / STEPS);
      this.show();
      changed();
    });
    this.show();
  }

  // The slider goes to the step nearest to the ratio, which itself is kept as given.
  set(ratio) {
    this.ratio = ratio;
    this.slider.value = Math.round((STEPS * Math.log(ratio)) / Math.log(this.ratioAtEnd));
    this.show();
  }

  get atTrained() {
    return this.ratio === 1;
  }

  // One per objective, in three digits.
  get temperatures() {
    const exact = this.trained.map((beta) => beta * this.ratio);
    const rounded = exact.map((beta) => Number(beta.toPrecision(3)));
    return mean(rounded) < this.smallest ? exact : rounded;
  }

  // As a request has it: nothing where the trained temperature is meant.
  get fields() {
    return this.atTrained ? {} : { temperature: this.temperatures };
  }

  show() {
    const betas = [...new Set(this.temperatures)].map((beta) => Number(beta.toPrecision(3))).join(", ");
    const times = timesTrained(this.ratio);
    const where = this.ratio > 1 ? "closer to the base" : "beyond the training";
    this.words.textContent = this.atTrained ? `\u03b2 ${betas}` : `\u03b2 ${betas} \u00b7 ${times}`;
    this.slider.setAttribute("aria-valuetext", this.atTrained ? `${betas}, as trained` : `${betas}, ${times}, ${where}`);
  }
}
