// The playground: asks the service what it serves, then lets the reader move through its trade-offs.

import { commonLength } from "./answer.js";
import { request, setKey } from "./api.js";
import { Column } from "./column.js";
import { byId, element } from "./elements.js";
import { FrontPlot } from "./front.js";
import * as tasks from "./tasks.js";
import { wishes } from "./wishes.js";

const RETRY = 3000; // milliseconds until a service that is still loading is asked again

let again = start; // what to do once there is a key

addEventListener("key-needed", () => {
  byId("key-form").hidden = false;
  byId("key").focus();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(byId("key").value);
  byId("key-form").hidden = true;
  again();
});

start();

async function start() {
  try {
    const [models, front] = await Promise.all([request("v1/models"), request("v1/front").catch(withoutFront)]);
    byId("notice").hidden = true;
    open((await models.json()).data[0], await front?.json());
  } catch (error) {
    byId("notice").textContent = error.message;
    byId("notice").hidden = false;
    if (error.status === 503) setTimeout(start, RETRY);
  }
}

function withoutFront(error) {
  if (error.status !== 404) throw error;
  return null;
}

function open(model, front) {
  introduce(model);
  const task = tasks[model.task](front);
  const columns = [];
  const plot = front ? new FrontPlot({ root: byId("front"), choosers: byId("choosers") }, front, choose) : null;
  if (plot && model.objectives.length > 1) byId("front").append(wishes(front, plot.metric, (weights) => plot.reach(weights)));
  byId("no-front").hidden = front !== undefined;
  byId("main").hidden = false;

  const hooks = { changed, busy, drawn: compare };
  const [first, second] = ["A", "B"].map((letter) => new Column(letter, model, task, hooks));
  arrange([first]);
  again = generate;

  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault(); // in a number's field it would submit the form as well
    ask();
  });
  byId("stop").addEventListener("click", () => columns.forEach((column) => column.stop()));
  byId("list").addEventListener("change", generate);
  byId("side-by-side").addEventListener("change", (event) => {
    if (!event.target.checked) return arrange([first]);
    second.tradeOff.set(opposite(first.weights));
    arrange([first, second]);
    if (byId("auto").checked) generate();
  });
  if (model.task === "ranking" && front?.example_features) generate();

  function arrange(shown) {
    columns.forEach((column) => !shown.includes(column) && column.stop());
    columns.splice(0, columns.length, ...shown);
    byId("columns").replaceChildren(...shown.map((column) => column.root));
    byId("columns").classList.toggle("two", shown.length > 1);
    byId("main").classList.toggle("wide", shown.length > 1);
    plot?.show(columns);
    compare();
  }

  function generate() {
    columns.forEach((column) => column.run());
  }

  function ask() {
    generate();
    (columns.find((column) => column.across) ?? first).reveal();
  }

  function changed(column) {
    plot?.show(columns);
    plot?.aim(column.letter);
    if (byId("auto").checked) column.later();
  }

  function choose(point, letter) {
    columns.find((column) => column.letter === letter).take(point);
    plot.show(columns);
  }

  function busy() {
    const running = columns.some((column) => column.running);
    const hadFocus = document.activeElement === byId("stop");
    byId("stop").disabled = !running;
    if (!running && hadFocus) byId("generate").focus();
  }

  // What two answers begin with in common stands back, so that the eye finds where they part.
  function compare() {
    if (task.path !== "v1/generate") return;
    const [one, other] = [first.shown, second.shown];
    const common = columns.length > 1 ? commonLength(one.text, other.text) : 0;
    for (const answer of [one, other]) answer.share(common);
    const same = one.text === other.text ? "Both answers are the same." : "Grey: what both answers begin with.";
    byId("parting").textContent = same;
    byId("parting").hidden = common === 0;
  }
}

// The corner that lies furthest from these weights: the last one, if several do.
function opposite(weights) {
  const least = weights.lastIndexOf(Math.min(...weights));
  return weights.map((_, j) => (j === least ? 1 : 0));
}

function introduce(model) {
  const kind = { language: "language model", ranking: "ranker" }[model.task];
  byId("about").replaceChildren(element("code", {}, model.id), ` \u00b7 ${kind}`);
  document.title = `${model.id} \u00b7 cosdpo playground`;
}
