// The two kinds of checkpoint: a language model answers a prompt, a ranker orders a list of documents.
//
// A task has `path`, `field` (what a program wants of the answer), `pause` (milliseconds to wait for the reader's hand to
// rest), `Output` and `body(output)`: the request but for its trade-off. `body` throws where the reader's input is wrong.

import { Answer } from "./answer.js";
import { fromCsv, toCsv } from "./documents.js";
import { byId } from "./elements.js";
import { Ranked } from "./ranked.js";

export function language(front) {
  byId("prompt-field").hidden = false;
  byId("settings").hidden = false;
  byId("prompt").value = front?.example_prompt ?? "";
  byId("new-seed").addEventListener("click", () => {
    byId("seed").value = Math.floor(Math.random() * 1e6);
    byId("ask").requestSubmit();
  });
  const number = (id) => Number(byId(id).value);
  const body = () => {
    const wrong = byId("ask").querySelector("input:invalid");
    if (wrong) {
      byId("settings").open = true;
      wrong.reportValidity();
      throw new Error("A setting is out of its range: it is marked under \u201cMore settings\u201d.");
    }
    return {
      prompt: byId("prompt").value,
      max_new_tokens: number("max-tokens"),
      sampling_temperature: number("sampling-temperature"),
      top_p: number("top-p"),
      seed: number("seed"),
    };
  };
  return { path: "v1/generate", field: "text", pause: 300, Output: Answer, body };
}

export function ranking(front) {
  byId("list-field").hidden = false;
  byId("stop").hidden = true; // a ranking takes no time
  byId("generate").firstChild.textContent = "Rank ";
  const features = front?.example_features ?? [];
  const width = features[0]?.length ?? front?.feature_names?.length;
  const names = front?.feature_names ?? Array.from({ length: width ?? 0 }, (_, k) => `feature ${k + 1}`);
  byId("list").value = features.length ? toCsv(features, names) : "";
  byId("list-field").open = features.length === 0; // without an example the reader's list is the only one
  let [text, parsed] = [null, null];
  const body = (output) => {
    if (byId("list").value !== text) {
      parsed = fromCsv(byId("list").value, width === undefined ? null : names);
      text = byId("list").value;
    }
    output.names = parsed.names;
    return { features: parsed.features };
  };
  return { path: "v1/rank", field: "order", pause: 40, Output: Ranked, body };
}
