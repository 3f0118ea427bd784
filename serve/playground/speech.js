// What a screen reader hears of a stream: whole sentences, and not more often than it can say them.

const PAUSE = 2000; // milliseconds between two utterances

export class Speech {
  constructor(region) {
    this.region = region;
    this.pending = "";
    this.last = 0;
  }

  // Drops what was said and what was not said yet.
  restart(message) {
    this.pending = "";
    this.last = performance.now();
    this.region.replaceChildren(paragraph(message));
  }

  add(text) {
    this.pending += text;
    const end = this.pending.search(/[.!?]["\u201d]?\s(?!.*[.!?]["\u201d]?\s)/s) + 1;
    if (end === 0 || performance.now() - this.last < PAUSE) return;
    this.region.append(paragraph(this.pending.slice(0, end)));
    this.pending = this.pending.slice(end);
    this.last = performance.now();
  }

  finish(message) {
    this.region.append(paragraph(this.pending), paragraph(message));
    this.pending = "";
  }
}

function paragraph(text) {
  const node = document.createElement("p");
  node.textContent = text;
  return node;
}
