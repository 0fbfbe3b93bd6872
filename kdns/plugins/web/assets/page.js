"use strict";
// The operator's page of kdns. All text goes through textContent, so nothing of a name is ever markup; the policy of the page
// (require-trusted-types-for) makes innerHTML an error.

const SVG = "http://www.w3.org/2000/svg";
const ROWS = 360;
const LEAST = 30;  // rows that a plot is wide at least, so that a young server shows more than a stroke
const byId = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const child of children) element.append(child);
  return element;
}

function fill(element, ...children) { element.replaceChildren(...children); }

// Figures

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    if (Math.abs(value) >= size) return (value / (unit === " k" ? 1e3 : size)).toPrecision(digits) + unit;
  }
  return Math.abs(value) >= 100 || Number.isInteger(value) ? Math.round(value).toString() : value.toPrecision(2);
}
function bytes(value) { return value === null || value === undefined ? "-" : (value / 1048576).toFixed(value < 104857600 ? 1 : 0) + " MiB"; }
function percent(value) {
  if (value > 0 && value < 0.0005) return "< 0.1 %";
  return value === null || value === undefined ? "-" : (100 * value).toFixed(value < 0.0995 ? 1 : 0) + " %";
}
function duration(value) {
  if (value === null || value === undefined) return "-";
  if (value < 0.001) return Math.round(value * 1e6) + " µs";
  if (value < 1) return number(value * 1e3) + " ms";
  return number(value) + " s";
}
function age(seconds) {
  if (seconds < 120) return Math.max(0, Math.round(seconds)) + " s";
  if (seconds < 3600) return Math.round(seconds / 60) + " min";
  return seconds < 172800 ? Math.round(seconds / 3600) + " h" : Math.round(seconds / 86400) + " days";
}
function grew(now, then, ...path) {
  const at = (look) => path.reduce((value, key) => (value ? value[key] : undefined), look) || 0;
  return then ? at(now) - at(then) : 0;
}
function sum(counts) { return Object.values(counts || {}).reduce((total, count) => total + count, 0); }
function percentile(now, then, share) {
  if (!now || !now.counts) return null;
  const counts = now.counts.map((count, i) => count - (then && then.counts ? then.counts[i] : 0));
  let wanted = share * counts.reduce((a, b) => a + b, 0), lower = 0;
  if (wanted <= 0) return null;
  for (let i = 0; i < now.bounds.length; i++) {
    if (counts[i] > 0 && wanted <= counts[i]) return lower + (now.bounds[i] - lower) * wanted / counts[i];
    wanted -= counts[i];
    lower = now.bounds[i];
  }
  return lower;
}

// Plots

const PLOTS = [
  ["Queries a second", number, [["queries", "all"]]],
  ["Replies a second", number, [["noerror", "NOERROR"], ["nxdomain", "NXDOMAIN"], ["servfail", "SERVFAIL"], ["other", "other"]]],
  ["Latency", duration, [["p50", "p50"], ["p99", "p99"]]],
  ["Answered without plugins", percent, [["table", "table"], ["fast", "fast path"]], 1],
  ["Cache hits", percent, [["cache", "hits"]], 1],
  ["Memory", bytes, [["memory", "resident"]]],
  ["Processor", percent, [["processor", "of what it may use"]], 1],
  ["Lag of the reactor", duration, [["lag", "p99"]]],
];

let fields = [], rows = [], interval = 10;

function drawPlots() {
  fill(byId("plots"), ...PLOTS.map(([title, format, series, top]) => plot(title, format, series, top)));
}

function plot(title, format, series, top) {
  const columns = series.map(([field]) => fields.indexOf(field));
  let most = top || 0;
  if (!top) for (const row of rows) for (const column of columns) most = Math.max(most, row[column] || 0);
  const caption = make("figcaption", "", make("b", "", title));
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", "0 0 360 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  for (const y of [0.5, 50, 99.5]) {
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of [["x1", 0], ["x2", 360], ["y1", y], ["y2", y]]) line.setAttribute(name, value);
    svg.append(line);
  }
  const last = rows.length ? rows[rows.length - 1] : null;
  const wide = last ? Math.min(ROWS, Math.max(LEAST, (last[0] - rows[0][0]) / interval)) : ROWS;
  const said = [];
  columns.forEach((column, index) => {
    // A gap where nothing was counted, or no row was taken.
    let points = [];
    const flush = () => {
      if (points.length) {
        const line = document.createElementNS(SVG, "polyline");
        if (points.length === 1) points.push(points[0].replace(/^[\d.]+/, (x) => Number(x) + 0.8));
        line.setAttribute("points", points.join(" "));
        line.setAttribute("class", "s" + index);
        svg.append(line);
      }
      points = [];
    };
    let before = null;
    for (const row of rows) {
      const x = 360 - (360 / wide) * (last[0] - row[0]) / interval, value = row[column];
      if (value === null || (before !== null && row[0] - before > 2.5 * interval)) flush();
      if (value !== null && x >= 0) points.push(x.toFixed(1) + "," + (99.5 - 99 * (most ? Math.min(1, value / most) : 0)).toFixed(1));
      before = row[0];
    }
    flush();
    const now = last ? format(last[column]) : "-";
    caption.append(make("span", "s" + index, series[index][1] + " " + now));
    said.push(series[index][1] + " " + now);
  });
  svg.setAttribute("aria-label", title + ", the last " + age(wide * interval) + "; now: " + said.join(", ") + "; the top is " + format(most));
  const frame = make("div", "frame", svg, make("span", "top", format(most)));
  return make("figure", "", caption, frame, make("div", "axis", make("span", "", age(wide * interval) + " ago"), make("span", "", "now")));
}

// What the server says of itself

const COREFILE_AGAIN = 30;  // seconds after which the file on disk is compared again
let before = null, look = null, hash = null, compared = 0;

function show(next) {
  before = look && look.pid === next.pid ? look : null;
  look = next;
  byId("about").textContent = `${look.version}, pid ${look.pid}, up ${age(look.seconds)}`;
  showWrong();
  showNow();
  showUpstreams();
  showCluster();
  showTalkers();
  const state = look.corefile.hash + look.corefile.bad;
  if (state !== hash || look.now - compared > COREFILE_AGAIN) {
    hash = state;
    compared = look.now;
    readCorefile();
  }
}

function showWrong() {
  const states = look.degraded;
  byId("wrong").className = states.length ? "some" : "";
  document.title = states.length ? `(${states.length}) kdns` : "kdns";
  if (!states.length) return fill(byId("wrong-list"), make("li", "good", "Nothing."));
  fill(byId("wrong-list"), ...states.map((state) => make("li", "",
    make("p", "bad", `${state.name}: ${state.text}`),
    make("p", "dim", `for ${age(look.now - state.since)}`),
    make("p", "", state.means),
    make("p", "", "What to do: " + state.do))));
}

function showNow() {
  const seconds = before ? look.seconds - before.seconds : 0;
  const rate = (count) => (seconds > 0 ? number(count / seconds) + " /s" : "-");
  const queries = look.queries ? grewSum("queries") : grew(look, before, "talkers", "total");
  const parts = ["given", "made", "asked"].map((name) => grew(look, before, "table", name));
  const total = parts.reduce((a, b) => a + b, 0);
  const share = (part) => (total > 0 ? percent(part / total) : "-");
  const talkers = look.talkers, process = look.process;
  const facts = [
    ["Queries", rate(queries) + (look.queries ? "" : ", estimated: no block has prometheus")],
    ["Latency", `p50 ${duration(percentile(look.durations, before && before.durations, 0.5))}, p99 ${duration(percentile(look.durations, before && before.durations, 0.99))}`],
    ["Answered by", `table ${share(parts[0])}, fast path ${share(parts[1])}, plugins ${share(parts[2])}`],
    ["Answer table", `${number(look.table.entries)} replies, ${bytes(look.table.octets)} of ${bytes(look.table.room)}`],
  ];
  if (look.cache) {
    const asked = grew(look, before, "cache", "requests");
    const found = asked > 0 ? percent(1 - grew(look, before, "cache", "misses") / asked) : "-";
    facts.push(["Cache", `${found} found, ${number(look.cache.entries)} answers`]);
  }
  facts.push(
    ["Search paths", `${talkers.queries ? percent(talkers.wasted / talkers.queries) : "-"} of the queries came from search paths and found nothing`],
    ["Memory", bytes(process.resident) + (process.limit ? ` of ${bytes(process.limit)}` : ", without a limit")],
    ["Processor", percent(process.saturation) + (process.cores < 1 ? ` of ${process.cores} cores` : " of a core")],
    ["Lag", duration(percentile(process.lag, before && before.process.lag, 0.99))],
    ["Waiting", `${look.waiting} queries, ${look.connections} connections`]);
  for (const [text, count] of Object.entries(look.dropped)) facts.push(["Dropped", `${number(count)} ${text}`]);
  fill(byId("now"), ...facts.flatMap(([name, text]) => [make("dt", "", name), make("dd", "", text)]));
}
function grewSum(name) { return before ? sum(look[name]) - sum(before[name]) : 0; }

function table(heads, lines, none) {
  if (!lines.length) return make("p", "dim", none);
  const head = make("tr", "", ...heads.map(([text, kind]) => { const cell = make("th", kind || "", text); cell.scope = "col"; return cell; }));
  const body = lines.map((cells) => make("tr", "", ...cells.map((cell, i) =>
    cell instanceof Node ? cell : make("td", heads[i][1] || "", String(cell)))));
  return make("table", "", make("thead", "", head), make("tbody", "", ...body));
}

function showUpstreams() {
  const lines = look.upstreams.map((up) => {
    const then = before && before.upstreams.find((other) => other.to === up.to && other.from === up.from);
    const counted = up.durations && up.durations.counts ? up.durations : null;
    const state = make("td", (up.state === "healthy" ? "good" : "bad") + " state", up.state);
    if (up.reason) state.append(make("p", "", up.reason));
    return [up.from === "." ? up.to : `${up.to} for ${up.from}`, state, up.in_flight,
      duration(percentile(counted, then && then.durations, 0.5)), duration(percentile(counted, then && then.durations, 0.99))];
  });
  fill(byId("upstreams"), table([["Address"], ["State"], ["In flight", "number"], ["p50", "number"], ["p99", "number"]], lines, "No block forwards."));
}

function showCluster() {
  const parts = look.clusters.flatMap((cluster) => {
    const state = cluster.stale || (cluster.synced ? "synced" : "not synced: " + cluster.why);
    const lines = cluster.watches.map((watch) => [watch.resource,
      make("td", watch.problem ? "bad" : "", watch.problem || watch.state),
      watch.event_age === null ? "never" : age(watch.event_age), watch.errors]);
    return [make("p", cluster.synced && !cluster.stale ? "good" : "bad", cluster.zones.join(" ") + ": " + state),
      ...(lines.length ? [table([["Watch"], ["State"], ["Heard", "number"], ["Errors", "number"]], lines, "")] : [])];
  });
  fill(byId("cluster"), ...(parts.length ? parts : [make("p", "dim", "No block has a cluster.")]));
}

function showTalkers() {
  const talkers = look.talkers;
  const share = (row) => (talkers.queries ? percent(row.times / talkers.queries) : "-");
  const heads = (title) => [["Share", "number"], [title]];
  fill(byId("clients"), table(heads("Client"), talkers.clients.map((row) => [share(row), row.client + (row.who ? "  " + row.who : "")]), "None yet."));
  for (const [id, title] of [["names", "Name"], ["denied", "Name"]]) {
    fill(byId(id), table(heads(title), talkers[id].map((row) => [share(row), row.name]), "None yet."));
  }
}

async function readCorefile() {
  const found = await ask("/web/corefile", {});
  const state = found.error ? "The file cannot be used: " + found.error
    : found.diff.length ? "The file on disk differs from what runs." : "What runs is what the file says.";
  byId("corefile-state").textContent = state;
  byId("corefile-state").className = found.error || found.diff.length ? "bad" : "good";
  byId("corefile").textContent = found.running || "";
  const diff = byId("corefile-diff");
  diff.hidden = !(found.diff && found.diff.length);
  fill(diff, ...(found.diff || []).map((line) => make("span", line[0] === "+" ? "plus" : line[0] === "-" ? "minus" : "", line + "\n")));
}

async function ask(path, fields) {
  try {
    const reply = await fetch(path + "?" + new URLSearchParams(fields));
    return await reply.json();
  } catch (error) {
    return { error: "kdns does not answer: " + error.message, diff: [] };
  }
}

// Explain

byId("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const found = await ask("/web/explain", Object.fromEntries(new FormData(event.target)));
  fill(byId("explained"), ...(found.steps ? explained(found) : [make("p", "bad", found.error || "no explanation")]));
});

function step(kind, title, ...lines) {
  return make("li", kind, make("p", "", make("b", "", title)), ...lines.filter(Boolean).map((line) =>
    line instanceof Node ? line : make("p", "dim", line)));
}

function explained(found) {
  const steps = [step("", `${found.name} ${found.type}`, `asked as ${found.client} over ${found.transport.toUpperCase()}, at ${found.server.listener}`)];
  if (found.search) {
    steps.push(step("", `Search path of namespace ${found.search.namespace}`, ...found.search.steps.map((one) => `${one.name}: ${one.said}${one.ends ? " - this answers" : ""}`)));
  }
  steps.push(step("", "Answer table", ...(found.table.length ? found.table.map((entry) =>
    `a finished ${entry.rcode} is held${entry.same ? " for this question" : " for the same name asked otherwise"}${entry.why_not ? ", but " + entry.why_not : ""}`)
    : [found.fast ? "no reply is held; the fast path answers" : "no reply is held"])));
  steps.push(step("", found.zone ? `Block of zone ${found.zone}` : "No block", `zones of this listener: ${found.zones.join(", ")}`));
  for (const one of found.steps) steps.push(pluginStep(one));
  for (const [plugin, lines] of Object.entries(found.freshness)) steps.push(step("", `How fresh ${plugin} is`, ...lines));
  for (const state of found.degraded) {
    steps.push(step("fault", `Wrong at present: ${state.name}`, state.text, state.means, "What to do: " + state.do));
  }
  steps.push(replyStep(found));
  return [make("ol", "", ...steps)];
}

function pluginStep(one) {
  const inside = one.inside.flatMap((inner) => [`asks for ${inner.name} ${inner.type}: ${inner.rcode || "not known here"}`, ...inner.steps.map((deeper) => `- ${deeper.plugin}: ${deeper.did}`)]);
  return step(one.notes.some((note) => note.missing) ? "fault" : "", `${one.plugin}: ${one.did}`,
    one.upstream && `upstream ${one.upstream}`, ...one.notes.map((note) => note.text), ...inside, `took ${duration(one.seconds)}`);
}

function replyStep(found) {
  const reply = found.reply;
  if (!reply) return step("end", "An upstream would be asked", "This page asks none; kdns explain does.");
  if (reply.silent) return step("fault", "No reply at all");
  if (reply.broken) return step("fault", "The reply cannot be made", reply.broken);
  const records = ["answer", "authority"].flatMap((section) => reply[section].map((record) => `${section}: ${record.join(" ")}`));
  const good = reply.rcode === "NOERROR" && reply.answer.length;
  return step(good ? "end" : "fault", `${reply.rcode}, ${reply.answer.length} records, ${reply.octets} bytes`, found.error,
    ...found.missing, ...records, ...reply.ede.map(([code, text]) => `extended error ${code}: ${text}`));
}

// Live: closed while nobody looks, so a page left open costs nothing.

let events = null;

function open() {
  if (events || document.hidden) return;
  events = new EventSource("/web/events");
  const connection = byId("connection");
  events.onopen = () => { connection.textContent = "live"; connection.className = ""; };
  events.onerror = () => { connection.textContent = "kdns does not answer; trying again"; connection.className = "lost"; };
  events.addEventListener("history", (event) => {
    ({ fields, rows, interval } = JSON.parse(event.data));
    drawPlots();
  });
  events.addEventListener("row", (event) => {
    rows = [...rows, JSON.parse(event.data)].slice(-ROWS);
    drawPlots();
  });
  events.addEventListener("look", (event) => show(JSON.parse(event.data)));
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return open();
  if (events) events.close();
  events = null;
  byId("connection").textContent = "paused";
});
drawPlots();
open();
