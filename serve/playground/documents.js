// Documents as text: CSV with a row each, as the reader pastes it from a spreadsheet or a file.

export const toCsv = (features, names) => [names.map((name) => name.replace(/[,;\t\n]/g, " ")), ...features].map((row) => row.join(",")).join("\n");

// {features, names} of the text; `defaults` are the ranker's feature names, null where nobody knows them.
// Throws an Error that says which row is wrong and how.
export function fromCsv(text, defaults) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const rows = lines.map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()));
  const isNumber = (cell) => cell !== "" && Number.isFinite(Number(cell));
  const titled = rows.length > 0 && !rows[0].some(isNumber);
  const title = titled ? rows.shift() : null;
  if (rows.length === 0) throw new Error("The list has no documents: give a row of numbers for each.");
  const names = title ?? defaults ?? rows[0].map((_, k) => `feature ${k + 1}`);
  const width = (defaults ?? names).length;
  rows.forEach((row, i) => {
    const wrong = row.find((cell) => !isNumber(cell));
    if (wrong !== undefined) throw new Error(`Document ${i + 1} has \u201c${wrong}\u201d where a number should be.`);
    if (row.length !== width) {
      throw new Error(`Document ${i + 1} has ${row.length} numbers; this ranker reads ${width} features.`);
    }
  });
  return { features: rows.map((row) => row.map(Number)), names };
}
