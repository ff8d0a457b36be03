// SPDX-License-Identifier: GPL-3.0-or-later
// The page at /: sends a file, shows the part and what is in it, and offers the result. Talks to its own server only.
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const ALIASES = { stp: "step", igs: "iges" };
const SEE_MOST = 100e6; // bytes of triangles that are drawn here; above, the server draws
const KEY = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});
let file = null, kind = "", turn = 0, running = null, shown = null;

class Refused extends Error {}

const format = () => {
  const ending = file.name.split(".").pop().toLowerCase();
  return ALIASES[ending] || ending;
};

function say(text) { $("state").textContent = text; }

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = false;
}

function busy(on) {
  $("going").hidden = !on;
  $("convert").querySelector("button").disabled = on;
}

// One job from upload to its record. Its promise ends with the record, or with Refused and the reason.
async function job(path, what) {
  const mine = { id: "", stop: null, gone: false };
  running = mine;
  $("progress").removeAttribute("value");
  busy(true);
  try {
    let record = await upload(path, what, mine);
    while (record.status === "queued" || record.status === "in_progress") {
      mine.id = record.id;
      if (mine.gone) throw new Refused("Cancelled.");
      say(record.status === "queued" ? `${what}: waiting for its turn` : `${what}: being converted`);
      if (record.progress) $("progress").value = record.progress;
      await new Promise((done) => setTimeout(done, 700));
      record = await (await asked(`async/operations/${record.id}`)).json();
    }
    if (mine.gone) throw new Refused("Cancelled.");
    if (record.status !== "completed") throw new Refused(record.error || `It was ${record.status}.`);
    return record;
  } finally {
    if (running === mine) { running = null; busy(false); }
  }
}

async function asked(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: KEY() });
  } catch {
    throw new Refused("The service cannot be reached: try again in a moment.");
  }
  if (!answer.ok) throw new Refused(reason(await answer.text(), answer.status));
  return answer;
}

function reason(text, status) {
  try { return JSON.parse(text).error || `The service answered ${status}.`; } catch { return `The service answered ${status}.`; }
}

function upload(path, what, mine) {
  return new Promise((done, refuse) => {
    const request = new XMLHttpRequest();
    mine.stop = () => request.abort();
    request.open("POST", path);
    for (const [name, value] of Object.entries(KEY())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      $("progress").value = 0.2 * event.loaded / event.total;
      say(event.loaded < event.total ? `${what}: sending` : `${what}: being converted`);
    };
    request.onload = () => {
      let record = null;
      try { record = JSON.parse(request.responseText); } catch { /* told below */ }
      if (request.status === 401) $("keys").open = true;
      if (record && record.status) done(record);
      else refuse(new Refused(reason(request.responseText, request.status)));
    };
    request.onerror = () => refuse(new Refused("The file could not be sent: the connection was lost; try again."));
    request.onabort = () => refuse(new Refused("Cancelled."));
    request.send(file);
  });
}

async function bytes(record) {
  if (record.outputs) {
    const text = atob(Object.values(record.outputs)[0]);
    return Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer;
  }
  return (await asked(record.output_url.slice(1))).arrayBuffer();
}

// A file was chosen: read it, show it.
async function open(chosen) {
  if (!chosen) return;
  if (running) cancel();
  const mine = ++turn;
  file = chosen;
  kind = format();
  $("error").hidden = $("part").hidden = true;
  release();
  if (![...$("file").accept.split(",")].includes(`.${file.name.split(".").pop().toLowerCase()}`)) {
    say("");
    return fail(`${file.name} is of no known format: its name should end in one of ${$("file").accept.replaceAll(",", ", ")}.`);
  }
  const exact = ["step", "iges", "brep"].includes(kind);
  for (const option of $("output").options) option.hidden = option.disabled = option.dataset.exact === "yes" && !exact;
  if ($("output").selectedOptions[0].disabled) $("output").value = "stl";
  try {
    const record = await job(`file/conversion/${kind}/stl`, file.name);
    if (mine !== turn) return;
    describe(record);
    await see(record, mine);
    if (mine === turn) say(`${file.name} is read.`);
  } catch (error) {
    if (mine === turn) { say(""); fail(error instanceof Refused ? error.message : `This page made a mistake: ${error}`); }
  }
}

const number = (value) => Number(value.toPrecision(6)).toLocaleString("en", { maximumFractionDigits: 6 });

function describe(record) {
  const found = record.statistics || {}, box = found.bounding_box;
  const rows = [["triangles", found.triangles === null || found.triangles === undefined ? "-" : number(found.triangles)]];
  if (box) rows.push(["size", `${[0, 1, 2].map((k) => number(box[1][k] - box[0][k])).join(" × ")} mm`]);
  if (found.area) rows.push(["surface", `${number(found.area)} mm²`]);
  rows.push(["volume", found.volume === null || found.volume === undefined ? "none: the surface is open" : `${number(Math.abs(found.volume))} mm³`]);
  $("name").textContent = file.name;
  $("statistics").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  list("warnings", record.warnings);
  list("result_warnings", []);
  $("part").hidden = false;
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function list(id, sentences) { $(id).replaceChildren(...(sentences || []).map((one) => element("li", one))); }

// The part: turned by hand where the browser can draw, else as pictures from the server.
async function see(record, mine) {
  $("canvas").hidden = $("picture").hidden = true;
  $("canvas").hidden = false;
  shown = record.output_bytes <= SEE_MOST ? Viewer.on($("canvas")) : null;
  if (shown) shown.show(await bytes(record));
  else { $("canvas").hidden = true; await picture("iso", mine); }
  press("iso");
}

async function picture(view, mine) {
  const record = await job(`file/preview/${kind}?width=800&height=600&background=transparent&view=${view}`, `${file.name}, ${view}`);
  const data = await bytes(record);
  if (mine !== turn) return;
  URL.revokeObjectURL($("picture").src);
  $("picture").src = URL.createObjectURL(new Blob([data], { type: "image/png" }));
  $("picture").alt = `${file.name}, ${view}`;
  $("picture").hidden = false;
}

function press(view) {
  for (const button of $("views").children) button.setAttribute("aria-pressed", String(button.dataset.view === view));
}

function release() {
  if ($("download").href) URL.revokeObjectURL($("download").href);
  $("download").removeAttribute("href");
  $("download").hidden = true;
}

async function convert(event) {
  event.preventDefault();
  const mine = turn, output = $("output").value, query = new URLSearchParams();
  for (const name of ["units", "output_units"]) if ($(name).value) query.set(name, $(name).value);
  $("error").hidden = true;
  release();
  try {
    const record = await job(`file/conversion/${kind}/${output}?${query}`, `${file.name} to ${output.toUpperCase()}`);
    const data = await bytes(record);
    if (mine !== turn) return;
    const name = `${file.name.replace(/\.[^.]*$/, "")}.${output}`;
    $("download").href = URL.createObjectURL(new Blob([data]));
    $("download").download = name;
    $("download").textContent = `Download ${name} (${number(Math.max(1, Math.round(data.byteLength / 1024)))} KiB)`;
    $("download").hidden = false;
    list("result_warnings", record.warnings);
    say(`${name} is ready.`);
    $("download").focus();
  } catch (error) {
    if (mine === turn) { say(""); fail(error instanceof Refused ? error.message : `This page made a mistake: ${error}`); }
  }
}

function cancel() {
  const mine = running;
  if (!mine) return;
  mine.gone = true;
  if (mine.id) asked(`async/operations/${mine.id}`, { method: "DELETE" }).catch(() => {});
  else mine.stop();
}

$("file").addEventListener("change", () => { open($("file").files[0]); $("file").value = ""; });
$("convert").addEventListener("submit", convert);
$("cancel").addEventListener("click", cancel);
$("views").addEventListener("click", (event) => {
  const view = event.target.dataset.view;
  if (!view) return;
  press(view);
  if (shown) shown.view(view);
  else picture(view, turn).catch((error) => fail(error.message));
});
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  open(event.dataTransfer.files[0]);
});
