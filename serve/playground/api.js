// Requests to the service that this page came from, its errors in plain words, and the reading of event streams.

const KEY = "cosdpo-api-key";

export class ServiceError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

// Paths are relative to the page, which may stand below a prefix.
export const address = (path) => new URL(path, document.baseURI).href;

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const setKey = (key) => sessionStorage.setItem(KEY, key);

export async function request(path, body, signal) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (hasKey()) headers.Authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  const method = body === undefined ? "GET" : "POST";
  let response;
  try {
    response = await fetch(address(path), { method, headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service cannot be reached. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

const OPENINGS = {
  400: "The service refused the request",
  401: "The service asks for an API key",
  404: "The service does not have this",
  408: "The request took too long",
  413: "The request is too large",
  429: "The service is busy",
  500: "The service failed",
  503: "The service is not ready",
};

async function refusal(response) {
  if (response.status === 401) dispatchEvent(new Event("key-needed")); // none was sent, or it was refused
  const body = await response.json().catch(() => ({})); // a proxy in between answers in its own words
  const message = body.error?.message ?? `${response.status} ${response.statusText}`.trim();
  const wait = response.headers.get("Retry-After");
  const again = wait === null ? "" : ` Try again in ${wait} s.`;
  const opening = OPENINGS[response.status] ?? "The service answered with an error";
  return new ServiceError(`${opening}: ${message}${/[.!?]$/.test(message) ? "" : "."}${again}`, response.status);
}

// The JSON events of a text/event-stream, until [DONE].
export async function* events(response) {
  let rest = "";
  for await (const piece of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (rest + piece).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (data === "") continue;
      const event = JSON.parse(data);
      if (event.error) throw new ServiceError(`The answer broke off: ${event.error.message}`);
      yield event;
    }
  }
  throw new ServiceError("The answer broke off: the connection was closed.");
}

// Not every browser iterates over a ReadableStream itself.
async function* pieces(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // already closed or aborted
  }
}
