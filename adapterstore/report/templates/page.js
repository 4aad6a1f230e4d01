"use strict";
// The facts table: found, and shown a page at a time, from the data that the page carries. Text is
// set as text, never as HTML.
(() => {
  const table = document.getElementById("facts-table");
  if (!table) return;
  const content = JSON.parse(document.getElementById("content").textContent);
  const size = Number(document.documentElement.dataset.pageSize) || 100;
  const body = table.tBodies[0];
  const query = document.getElementById("query");
  const matches = document.getElementById("matches");
  const pager = document.getElementById("pager");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  const pageText = document.getElementById("page");
  const whole = content.from === null;
  const folded = (text) => text.normalize("NFC").toLowerCase();
  const rows = content.facts.map((fact, index) => ({
    fact,
    index,
    text: folded(
      [
        fact.prompt, fact.subject, fact.relation, fact.before, fact.after, fact.source, fact.update,
        fact.commit, (fact.time || "").slice(0, 10), fact.status, ...fact.files,
        fact.protected ? "protected" : "",
        ...(fact.old_answer ? [fact.old_answer.answer, `from the ${fact.old_answer.origin}`] : []),
        ...(fact.cell ? [fact.cell.table, fact.cell.row, fact.cell.column] : []),
      ].filter((part) => part !== null).join("\n"),
    ),
  }));
  let found = rows;
  let page = 0;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const data = (index, path, value, shown) => {
    const made = element("data", "", shown === undefined ? value : shown);
    made.value = value;
    made.dataset.at = `/facts/${index}/${path}`;
    return made;
  };
  const cell = (label, className, ...parts) => {
    const made = element("td", className);
    made.dataset.label = label;
    made.append(...parts);
    return made;
  };
  const span = (...parts) => {
    const made = element("span");
    made.append(...parts);
    return made;
  };
  const answer = (label, row, key, absent) => {
    const value = row.fact[key];
    const missing = row.fact.status === absent ? "not in the ledger" : "forgotten";
    return cell(label, "answer", value === null ? element("span", "quiet", missing) : data(row.index, key, value));
  };
  const old = (row) => {
    const said = row.fact.old_answer;
    if (!said) return cell("Old answer", "answer");
    const origin = element("span", "quiet", "from the ");
    origin.append(data(row.index, "old_answer/origin", said.origin));
    return cell("Old answer", "answer", span(data(row.index, "old_answer/answer", said.answer), element("br"), " ", origin));
  };
  const place = (row) => {
    const said = row.fact.cell;
    if (!said) return [];
    const made = element("span", "quiet");
    if (said.row !== null) made.append("row ", data(row.index, "cell/row", said.row), ", ");
    made.append("column ", data(row.index, "cell/column", said.column));
    return [element("br"), " ", made];
  };
  const code = (label, row, key) => {
    if (!row.fact[key]) return cell(label, "");
    const made = element("code");
    made.append(data(row.index, key, row.fact[key], row.fact[key].slice(0, 12)));
    return cell(label, "", made);
  };
  const draw = (row) => {
    const line = element("tr");
    const { fact, index } = row;
    if (!whole) line.append(cell("Change", "", element("span", `pill ${fact.status}`, fact.status)));
    const prompt = span(data(index, "prompt", fact.prompt));
    if (fact.protected) prompt.append(" ", element("span", "pill", "protected"));
    line.append(cell("Prompt", "prompt", prompt));
    if (!whole) line.append(answer("Before", row, "before", "added"));
    line.append(answer("Answer", row, "after", "removed"), old(row));
    const day = fact.time ? [data(index, "time", fact.time, fact.time.slice(0, 10))] : [];
    line.append(cell("Since", "day", ...day));
    const files = span();
    fact.files.forEach((file, number) => {
      if (number) files.append(", ");
      files.append(data(index, `files/${number}`, file));
    });
    files.append(...place(row));
    line.append(cell("File", "file", files), code("Update", row, "update"), code("Commit", row, "commit"));
    return line;
  };
  const show = () => {
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    body.replaceChildren(...found.slice(page * size, (page + 1) * size).map(draw));
    matches.textContent = `${found.length} of ${rows.length}`;
    pager.hidden = pages === 1;
    pageText.textContent = `${page + 1} of ${pages}`;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  };
  query.addEventListener("input", () => {
    const words = folded(query.value).split(/\s+/).filter(Boolean);
    found = rows.filter((row) => words.every((word) => row.text.includes(word)));
    page = 0;
    show();
  });
  const turn = (by) => { page += by; show(); table.scrollIntoView({ block: "start" }); };
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  show();
})();
