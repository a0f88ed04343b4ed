"use strict";
const html = document.documentElement;
const body = document.querySelector("tbody");
const rows = [...body.rows];
const search = document.getElementById("search");
const filter = document.getElementById("filter");
const shown = document.getElementById("shown");
const reader = document.getElementById("reader");
const text = document.getElementById("text");
html.classList.add("js");

// ---- Which rows are there ----

function matches(row) {
    const wanted = search.value.trim().toLowerCase();
    if (wanted && !row.dataset.name.toLowerCase().includes(wanted))
        return false;
    const [kind, value] = filter.value.split(":");
    if (kind === "is")
        return row.dataset.is.split(" ").includes(value);
    if (kind === "fails")
        return row.dataset.fails.split(" ").includes(value);
    return true;
}

function choose() {
    let count = 0;
    for (const row of rows) {
        row.hidden = !matches(row);
        count += !row.hidden;
    }
    shown.value = `${count} of ${rows.length} shown`;
}

// ---- In which order ----

function value(row, column) {
    return Number(row.cells[column]?.dataset.v ?? -1);
}

function sort(head) {
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "none"
        ? head.dataset.first === "descending" : head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells)
        other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((a, b) => (down ? -1 : 1) * (value(a, column) - value(b, column)) || value(a, 0) - value(b, 0));
    body.append(...rows);
}

// ---- A submission's log ----

const visible = () => rows.filter(row => !row.hidden);
const link = row => row.querySelector("a");
let current = null;

function open(row, check) {
    current = row;
    const log = document.getElementById(row.dataset.log);
    text.replaceChildren(...[...log.childNodes].map(node => node.cloneNode(true)));
    const list = visible();
    reader.querySelector(".previous").disabled = list.indexOf(row) <= 0;
    reader.querySelector(".next").disabled = list.indexOf(row) === list.length - 1;
    reader.setAttribute("aria-label", row.dataset.name);
    if (!reader.open)
        reader.showModal();
    reader.scrollTop = 0;
    history.replaceState(null, "", "#" + row.dataset.log);
    const place = check && text.querySelector(`[data-check="${CSS.escape(check)}"]`);
    if (place)
        place.scrollIntoView();
}

function step(by) {
    const list = visible();
    const next = list[list.indexOf(current) + by];
    if (next)
        open(next);
}

reader.addEventListener("close", () => {
    history.replaceState(null, "", location.pathname + location.search);
    text.replaceChildren();
    if (current)
        link(current).focus();
});
reader.querySelector(".close").addEventListener("click", () => reader.close());
reader.querySelector(".previous").addEventListener("click", () => step(-1));
reader.querySelector(".next").addEventListener("click", () => step(1));
reader.addEventListener("click", event => {
    if (event.target === reader)
        reader.close();
});

function follow() {
    const row = rows.find(candidate => "#" + candidate.dataset.log === location.hash);
    if (row)
        open(row);
}

body.addEventListener("click", event => {
    const row = event.target.closest("tr");
    const cell = event.target.closest("td");
    if (event.target.closest("a")) {
        event.preventDefault();
        open(row);
    } else if (cell && !cell.classList.contains("ok")) {
        open(row, cell.dataset.check);
    }
});

document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select"))
        return;
    if (reader.open) {
        if (event.key === "n" || event.key === "p")
            step(event.key === "n" ? 1 : -1);
        return;
    }
    if (event.key === "/") {
        event.preventDefault();
        search.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        const list = visible();
        const at = list.indexOf(event.target.closest("tbody tr"));
        const next = at < 0 ? null : list[at + (event.key === "ArrowDown" ? 1 : -1)];
        if (next) {
            event.preventDefault();
            link(next).focus();
        }
    }
});

for (const head of document.querySelectorAll("thead th"))
    head.querySelector("button").addEventListener("click", () => sort(head));
search.addEventListener("input", choose);
filter.addEventListener("change", choose);
addEventListener("hashchange", follow);
choose();
follow();
