// Sorts, filters and marks the studies of a gallery. Marks are kept in the address, so that nothing is stored.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const tools = document.querySelector(".tools");
  const gallery = document.querySelector(".gallery");
  const large = byId("large");
  const studies = [...gallery.querySelectorAll(".study")].map((node) => ({
    node,
    number: Number(node.dataset.number),
    flags: Number(node.dataset.flags),
    values: JSON.parse(node.dataset.values),
    words: node.textContent.toLowerCase(),
  }));
  const marked = new Set((location.hash.match(/^#marked=([\d,]+)$/)?.[1] ?? "").split(",").filter(Boolean).map(Number));
  let shown = studies;
  let current = studies[0];

  const valueOf = (study) => study.values[Number(byId("structure").value)] ?? null;

  function fits(study) {
    const [from, to] = [byId("from").value, byId("to").value];
    const value = valueOf(study);
    if ((from !== "" || to !== "") && value === null) return false;
    if ((from !== "" && value < Number(from)) || (to !== "" && value > Number(to))) return false;
    const which = byId("show").value;
    if (which === "flagged" && !study.flags) return false;
    if (which === "marked" && !marked.has(study.number)) return false;
    if (which === "unmarked" && marked.has(study.number)) return false;
    return study.words.includes(byId("search").value.trim().toLowerCase());
  }

  function compare(one, other) {
    const order = byId("order").value;
    let result = 0;
    if (order === "flags") result = other.flags - one.flags;
    if (order === "small" || order === "large") {
      const [a, b] = [valueOf(one), valueOf(other)];
      if (a === null || b === null) result = (a === null) - (b === null); // those without it come last
      else result = order === "small" ? a - b : b - a;
    }
    return result || one.number - other.number;
  }

  function arrange() {
    shown = studies.filter(fits).sort(compare);
    const visible = new Set(shown);
    for (const study of studies) study.node.hidden = !visible.has(study);
    gallery.append(...shown.map((study) => study.node));
    byId("count").textContent = `${shown.length} of ${studies.length} studies`;
    if (!visible.has(current)) current = shown[0];
    showMarks();
  }

  function showMarks() {
    for (const study of studies) {
      study.node.tabIndex = study === current ? 0 : -1;
      study.node.classList.toggle("marked", marked.has(study.number));
    }
    const numbers = [...marked].sort((a, b) => a - b);
    byId("marked").textContent = numbers.join(", ") || "none";
    const address = `#marked=${numbers.join(",")}`;
    if (location.hash !== address && (location.hash || numbers.length)) location.replace(address);
  }

  function go(study) {
    if (!study) return;
    current = study;
    showMarks();
    study.node.focus();
    study.node.scrollIntoView({ block: "nearest" });
    if (large.open) enlarge();
  }

  function enlarge() {
    large.replaceChildren(...[...current.node.childNodes].map((child) => child.cloneNode(true)));
    large.classList.toggle("marked", marked.has(current.number));
    if (!large.open) large.showModal();
  }

  function columns() {
    const top = shown[0]?.node.offsetTop;
    const next = shown.findIndex((study) => study.node.offsetTop > top);
    return next > 0 ? next : 1;
  }

  function mark() {
    if (!current) return;
    marked.has(current.number) ? marked.delete(current.number) : marked.add(current.number);
    showMarks();
    large.classList.toggle("marked", marked.has(current.number));
  }

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select")) {
      if (event.key === "Escape") current?.node.focus();
      return;
    }
    const place = shown.indexOf(current);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
    if (event.key in steps) go(shown[place + steps[event.key]]);
    else if (event.key === "Home") go(shown[0]);
    else if (event.key === "End") go(shown.at(-1));
    else if (event.key === "Enter") large.open ? large.close() : current && enlarge();
    else if (event.key.toLowerCase() === "m") mark();
    else if (event.key.toLowerCase() === "n") go(shown.slice(place + 1).find((study) => study.flags));
    else if (event.key === "/") byId("search").focus();
    else return;
    event.preventDefault();
  }

  document.addEventListener("keydown", onKey);
  tools.addEventListener("input", arrange);
  tools.addEventListener("submit", (event) => event.preventDefault());
  gallery.addEventListener("click", (event) => {
    const node = event.target.closest(".study");
    if (!node) return;
    go(studies.find((study) => study.node === node));
    if (event.target.closest("img")) enlarge();
  });
  large.addEventListener("click", () => large.close());
  large.addEventListener("close", () => current?.node.focus());
  tools.hidden = false;
  arrange();
})();
