"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { states, moments, colours, names } = data;
const element = id => document.getElementById(id);
const canvas = element("map");
const slider = element("slider");
const frames = Math.max(...moments.map(moment => moment.n));
let moment = 0;             // the one that is shown
let pinned = null;          // the page that a click holds
let playing = 0;            // a timer, while it plays

// ---- The state of every page at every moment ----

// All pages at each 16th moment; those between are made from there.
const STEP = 16;
const kept = [];

function change(now, which) {
    for (const [first, count, state] of moments[which].changes)
        now.fill(state, first, first + count);
}

(function () {
    const now = new Int32Array(frames).fill(-1);
    moments.forEach((_, i) => {
        change(now, i);
        if (i % STEP === 0)
            kept.push(now.slice());
    });
})();

function pages(which) {
    const now = kept[Math.floor(which / STEP)].slice();
    for (let i = which - which % STEP + 1; i <= which; i++)
        change(now, i);
    return now;
}

function history(page) {
    const found = [];
    moments.forEach((one, i) => {
        for (const [first, count, state] of one.changes)
            if (page >= first && page < first + count)
                found.push([i, state]);
    });
    return found;
}

// ---- The map ----

const columns = frames <= 4096 ? 64 : frames <= 16384 ? 128 : 512;
const side = frames <= 4096 ? 12 : frames <= 16384 ? 6 : 2;
canvas.width = columns * side;
canvas.height = Math.ceil(frames / columns) * side;
const pen = canvas.getContext("2d");

const cell = state => state < 0 ? "NONE" : states[state][0];
const isWrong = state => ["WRONG", "LEAKED"].includes(cell(state));

function draw() {
    const now = pages(moment);
    const counts = new Map();
    pen.fillStyle = colours.NONE;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const inner = side > 2 ? side - 1 : side;
    for (let i = 0; i < frames; i++) {
        const is = cell(now[i]);
        const kind = is.replace(/\d$/, "");
        counts.set(kind, (counts.get(kind) ?? 0) + 1);
        pen.fillStyle = colours[is];
        pen.fillRect(i % columns * side, Math.floor(i / columns) * side, inner, inner);
        if (isWrong(now[i]) && side > 2) {
            pen.strokeStyle = "#fff";
            pen.strokeRect(i % columns * side + .5, Math.floor(i / columns) * side + .5, inner - 1, inner - 1);
        }
    }
    if (pinned !== null) {
        pen.strokeStyle = "#fff";
        pen.lineWidth = 2;
        pen.strokeRect(pinned % columns * side - 1, Math.floor(pinned / columns) * side - 1, side + 1, side + 1);
        pen.lineWidth = 1;
    }
    const legend = element("legend");
    legend.replaceChildren(...Object.keys(names).filter(name => counts.has(name) && name !== "NONE").map(name => {
        const item = document.createElement("li");
        const box = document.createElement("i");
        box.style.background = colours[name] ?? colours.PROCESS3;
        item.append(box, `${names[name]} ${counts.get(name)}`);
        return item;
    }));
}

const ms = which => `${(moments[which].t / 1000).toFixed(1)} ms`;

function show(which) {
    moment = which;
    slider.value = which;
    element("when").value = `moment ${which + 1} of ${moments.length}, ${ms(which)}`;
    draw();
    const { errors, nerrors, broken } = moments[which];
    element("trouble").hidden = nerrors === 0 && broken.length === 0;
    element("errors").replaceChildren(...errors.map(([page, text]) => {
        const item = document.createElement("li");
        item.textContent = `${(page * 4096).toString(16)}: ${text}`;
        item.onclick = () => hold(page);
        return item;
    }), ...(nerrors > errors.length ? [`and ${nerrors - errors.length} more`] : []), ...broken.map(text => {
        const item = document.createElement("li");
        item.textContent = text;
        return item;
    }));
    const console = element("console");
    console.textContent = moments.slice(0, which + 1).map(one => one.said).join("");
    console.scrollTop = console.scrollHeight;
    if (pinned !== null)
        tell(pinned);
}

// ---- One page ----

function tell(page) {
    element("page").textContent = (page * 4096).toString(16);
    const all = history(page);
    const before = all.filter(([which]) => which <= moment);
    element("state").textContent = before.length ? states[before[before.length - 1][1]][1] : "no RAM";
    element("history").replaceChildren(...all.map(([which, state], i) => {
        const item = document.createElement("li");
        const time = document.createElement("time");
        time.textContent = ms(which);
        item.append(time, states[state][1]);
        item.classList.toggle("now", i === before.length - 1);
        item.onclick = () => { hold(page); show(which); };
        return item;
    }));
}

function hold(page) {
    pinned = page;
    draw();
    tell(page);
}

function pageAt(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * columns);
    const y = Math.floor((event.clientY - box.top) / box.height * Math.ceil(frames / columns));
    const page = y * columns + x;
    return x >= 0 && x < columns && page < frames ? page : null;
}

canvas.onmousemove = event => {
    const page = pageAt(event);
    if (pinned === null && page !== null)
        tell(page);
};
canvas.onclick = event => {
    const page = pageAt(event);
    pinned = pinned === page ? null : page;
    draw();
    if (pinned !== null)
        tell(pinned);
};

// ---- Playing ----

function stop() {
    clearInterval(playing);
    playing = 0;
    element("play").textContent = "Play";
}

function play() {
    if (playing) {
        stop();
        return;
    }
    if (moment === moments.length - 1)
        show(0);
    element("play").textContent = "Pause";
    playing = setInterval(() => moment + 1 < moments.length ? show(moment + 1) : stop(), 1000 / element("speed").value);
}

element("play").onclick = play;
element("speed").onchange = () => { if (playing) { stop(); play(); } };
slider.max = moments.length - 1;
slider.oninput = () => show(Number(slider.value));
document.onkeydown = event => {
    if (event.key === " " && event.target.tagName !== "BUTTON") {
        event.preventDefault();
        play();
    } else if (event.target !== slider && event.key === "ArrowRight" && moment + 1 < moments.length)
        show(moment + 1);
    else if (event.target !== slider && event.key === "ArrowLeft" && moment > 0)
        show(moment - 1);
};
show(0);
