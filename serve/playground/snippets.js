// The page's request as code: a curl command and a Python program. The key is named, never copied.

import { address, hasKey } from "./api.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(path, body) {
  const key = hasKey() ? ' -H "Authorization: Bearer $COSDPO_API_KEY"' : "";
  return `curl ${quoted(address(path))} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(body))}`;
}

export function python(path, body, field) {
  const headers = hasKey() ? `\n    headers={"Authorization": f"Bearer {os.environ['COSDPO_API_KEY']}"},` : "";
  const fields = Object.entries(body).map(([name, value]) => `        ${JSON.stringify(name)}: ${JSON.stringify(value)},`);
  return `${hasKey() ? "import os\n\n" : ""}import httpx

response = httpx.post(
    ${JSON.stringify(address(path))},${headers}
    json={
${fields.join("\n")}
    },
    timeout=300,
)
response.raise_for_status()
print(response.json()["${field}"])
`;
}

// Copies the text; where the browser does not allow that, the dialog shows it, selected.
export async function copy(text, button, dialog) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = dialog.querySelector("textarea");
    area.value = text;
    dialog.showModal();
    area.select();
    return;
  }
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = label), 1500);
}
