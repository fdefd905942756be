
"use strict";
// Draws the tracks of one recording over one time axis, and plays it. Times are in seconds.

const element = (id) => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const seconds = data.seconds;
const LONG_SECONDS = 60; // a longer recording is not shown whole at first
const FIRST_SECONDS = 30; // but so much of it
const MIN_VIEW_SECONDS = 0.02;
const MAX_CODE = 254;
const NOT_FINITE = 255;

// ---- Numbers

function bytesOf(base64) {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// Rows of numbers over time, a byte each (Grid in src/tool/tasks/grid.h).
class Grid {
  constructor(given) {
    Object.assign(this, given);
    this.codes = bytesOf(given.codes);
  }
  code(row, column) {
    return this.codes[row * this.columns + column];
  }
  value(row, column) {
    const code = this.code(row, column);
    if (code === NOT_FINITE) return NaN;
    return this.lows[row] + (code / MAX_CODE) * (this.highs[row] - this.lows[row]);
  }
  columnAt(time) {
    return Math.floor(time / this.secondsPerColumn);
  }
  valueAt(row, time) {
    const column = this.columnAt(time);
    return column < this.columns && row >= 0 && row < this.rows ? this.value(row, column) : NaN;
  }
}

function clockText(time) {
  const whole = Math.floor(time / 60);
  const rest = (time - 60 * whole).toFixed(2).padStart(5, "0");
  return whole < 60 ? `${whole}:${rest}` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}:${rest}`;
}

const numberText = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toString() : "not a number");
const scoreText = (score) => (score === null || score === undefined ? "–" : score.toFixed(3));

// ---- What is shown of the time axis, and where the cursor is

const view = { start: 0, end: seconds > LONG_SECONDS ? FIRST_SECONDS : seconds };
let position = 0;

const xOf = (time, width) => ((time - view.start) / (view.end - view.start)) * width;
const timeOf = (x, width) => view.start + (x / width) * (view.end - view.start);

function show(start, end) {
  const length = Math.min(seconds, Math.max(MIN_VIEW_SECONDS, end - start));
  view.start = Math.min(Math.max(0, start), seconds - length);
  view.end = view.start + length;
  drawSoon();
}

function zoom(factor, around) {
  show(around - (around - view.start) * factor, around + (view.end - around) * factor);
}

const isVisible = (time) => time >= view.start && time <= view.end;

function zoomAtCursor(factor) {
  zoom(factor, isVisible(position) ? position : (view.start + view.end) / 2);
}

// ---- Playback

const audio = new Audio();
let isPlayable = false;

function playFrom(url) {
  audio.src = url;
  isPlayable = true;
  element("play").disabled = false;
}

function togglePlay() {
  if (!isPlayable) return;
  if (audio.paused) {
    audio.play().catch((error) => tellPlayback(`The audio cannot be played here: ${error.message}`));
  } else {
    audio.pause();
  }
}

function seek(time) {
  moveTo(Math.min(Math.max(0, time), seconds));
  if (isPlayable) audio.currentTime = position;
  if (!isVisible(position)) {
    const length = view.end - view.start;
    show(position - length / 2, position + length / 2);
  }
}

function moveTo(time) {
  position = time;
  element("clock").textContent = `${clockText(position)} / ${clockText(seconds)}`;
  element("position").value = String(position);
  element("position").setAttribute("aria-valuetext", `${clockText(position)} of ${clockText(seconds)}`);
  placeCursor();
}

function placeCursor() {
  const cursor = element("cursor");
  cursor.hidden = !isVisible(position);
  cursor.style.left = `${xOf(position, element("tracks").clientWidth)}px`;
}

function follow() {
  if (audio.paused) return;
  moveTo(Math.min(audio.currentTime, seconds));
  if (position > view.end) show(position, position + (view.end - view.start));
  requestAnimationFrame(follow);
}

function tellPlaying() {
  const isPlaying = !audio.paused;
  element("play").textContent = isPlaying ? "Pause" : "Play";
  element("play").setAttribute("aria-pressed", String(isPlaying));
  if (isPlaying) requestAnimationFrame(follow);
}

function tellPlayback(text) {
  element("playback").hidden = text === "";
  element("playback").textContent = text;
}

// Of a file that was chosen: the page knows nothing of it but its length.
function compareLength() {
  const isOther = Math.abs(audio.duration - seconds) > 0.5;
  tellPlayback(isOther ? `This file lasts ${clockText(audio.duration)}: is it the recording, of ${clockText(seconds)}?` : "");
}

function preparePlayback() {
  for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, tellPlaying);
  audio.addEventListener("ended", () => moveTo(seconds));
  const wav = element("wav").textContent;
  if (wav) {
    playFrom(URL.createObjectURL(new Blob([bytesOf(wav)], { type: "audio/wav" })));
    return;
  }
  element("play").disabled = true;
  element("chooser").hidden = false;
  tellPlayback(data.playback);
  audio.addEventListener("loadedmetadata", compareLength);
  element("file").addEventListener("change", (event) => {
    const file = event.target.files[0];
    if (!file) return;
    URL.revokeObjectURL(audio.src);
    playFrom(URL.createObjectURL(file));
    audio.currentTime = position;
  });
}

// ---- Drawing

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// From little to much.
const STOPS = [[10, 8, 40], [84, 30, 120], [190, 55, 92], [240, 140, 60], [252, 246, 190]];
const PALETTE = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (STOPS.length - 1);
  const stop = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[stop].map((low, k) => Math.round(low + (at - stop) * (STOPS[stop + 1][k] - low)));
});

// A grid as a picture, row 0 at the bottom. `share`: 0 to 1 of a row's value.
function pictureOf(grid, share) {
  const picture = document.createElement("canvas");
  picture.width = grid.columns;
  picture.height = grid.rows;
  const context = picture.getContext("2d");
  const image = context.createImageData(grid.columns, grid.rows);
  for (let row = 0; row < grid.rows; row++) {
    const shades = Array.from({ length: MAX_CODE + 1 }, (_, code) => {
      const value = grid.lows[row] + (code / MAX_CODE) * (grid.highs[row] - grid.lows[row]);
      return PALETTE[Math.round(255 * Math.min(1, Math.max(0, share(row, value))))];
    });
    for (let column = 0; column < grid.columns; column++) {
      const code = grid.code(row, column);
      const [red, green, blue] = code === NOT_FINITE ? [128, 128, 128] : shades[code];
      image.data.set([red, green, blue, 255], 4 * ((grid.rows - 1 - row) * grid.columns + column));
    }
  }
  context.putImageData(image, 0, 0);
  return picture;
}

function drawPicture(context, width, height, grid, picture) {
  const first = Math.max(0, grid.columnAt(view.start));
  const last = Math.min(grid.columns, grid.columnAt(view.end) + 1);
  if (last <= first) return;
  const left = xOf(first * grid.secondsPerColumn, width);
  const right = xOf(last * grid.secondsPerColumn, width);
  context.imageSmoothingEnabled = right - left < last - first; // pixels stay sharp when they are large
  context.drawImage(picture, first, 0, last - first, grid.rows, left, 0, right - left, height);
}

function drawWaveform(context, width, height, start, end) {
  const grid = data.waveform;
  const peak = Math.max(1e-9, ...[...grid.lows, ...grid.highs].map(Math.abs));
  const y = (value) => height / 2 - (value / peak) * (height / 2 - 2);
  const first = Math.max(0, grid.columnAt(start));
  const last = Math.min(grid.columns, grid.columnAt(end) + 1);
  const columnWidth = (grid.secondsPerColumn / (end - start)) * width;
  context.fillStyle = style("--wave");
  const bar = (x, barWidth, low, high) => {
    if (low <= high) context.fillRect(x, y(high), Math.max(1, barWidth), Math.max(1, y(low) - y(high)));
  };
  let pixel = -1, low = Infinity, high = -Infinity;
  for (let column = first; column < last; column++) {
    const x = ((column * grid.secondsPerColumn - start) / (end - start)) * width;
    if (columnWidth >= 1) {
      bar(x, columnWidth, grid.value(0, column), grid.value(1, column));
      continue;
    }
    if (Math.floor(x) !== pixel) {
      bar(pixel, 1, low, high);
      [pixel, low, high] = [Math.floor(x), Infinity, -Infinity];
    }
    low = Math.min(low, grid.value(0, column));
    high = Math.max(high, grid.value(1, column));
  }
  bar(pixel, 1, low, high);
}

function textWithin(context, text, x, y, room) {
  if (room < 8) return;
  const whole = context.measureText(text).width;
  if (whole <= room) {
    context.fillText(text, x + (room - whole) / 2, y);
  } else if (room > 24) {
    context.save();
    context.beginPath();
    context.rect(x, 0, room, context.canvas.height);
    context.clip();
    context.fillText(text, x, y);
    context.restore();
  }
}

// The part of ascending [text, start, end, score] that is in sight.
function visibleOf(texts) {
  let low = 0, high = texts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (texts[middle][2] < view.start) low = middle + 1; else high = middle;
  }
  const visible = [];
  for (; low < texts.length && texts[low][1] <= view.end; low++) visible.push(texts[low]);
  return visible;
}

function drawTexts(context, width, height, texts) {
  context.font = "13px system-ui, sans-serif";
  context.textBaseline = "middle";
  const [colour, textColour] = [style("--word"), style("--text")]; // asked for once: it takes its time
  for (const [text, start, end, score] of visibleOf(texts)) {
    const left = xOf(start, width), right = Math.max(left + 2, xOf(end, width));
    context.fillStyle = `rgba(${colour}, ${0.1 + 0.34 * (score ?? 0.5)})`;
    context.fillRect(left, 2, right - left - 0.5, height - 4);
    context.fillStyle = textColour;
    const from = Math.max(0, left) + 2, to = Math.min(width, right) - 2;
    textWithin(context, text, from, height / 2, to - from);
  }
}

// Characters last a frame or two: each is written where there is room until the next one.
function drawCharacters(context, width, height, texts) {
  context.font = "13px ui-monospace, monospace";
  context.textBaseline = "middle";
  const [colour, textColour] = [style("--word"), style("--text")];
  const visible = visibleOf(texts);
  visible.forEach(([text, start, end, score], i) => {
    const left = xOf(start, width), right = Math.max(left + 1.5, xOf(end, width));
    context.fillStyle = `rgba(${colour}, ${0.1 + 0.34 * (score ?? 0.5)})`;
    context.fillRect(left, 2, right - left, height - 4);
    const next = i + 1 < visible.length ? xOf(visible[i + 1][1], width) : width;
    if (next - left < 5) return; // no room for any
    context.fillStyle = textColour;
    const shown = text === " " ? "␣" : text;
    if (context.measureText(shown).width < next - left) context.fillText(shown, left + 1, height / 2);
  });
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const hueOf = (lane, alpha) => `hsla(${(210 + 67 * lane) % 360}, 60%, ${isDark() ? 66 : 40}%, ${alpha})`;

// A lane for each label: its segments as boxes, and its scores as a curve from 0 to 1.
const LANE_HEIGHT = 34;
function drawLanes(context, width, lanes) {
  lanes.forEach((lane, number) => {
    const top = number * LANE_HEIGHT, bottom = top + LANE_HEIGHT - 4;
    context.fillStyle = hueOf(number, 0.35);
    for (const [, start, end] of lane.segments) {
      if (end < view.start || start > view.end) continue;
      const left = xOf(start, width);
      context.fillRect(left, top + 2, Math.max(1, xOf(end, width) - left), LANE_HEIGHT - 6);
    }
    context.strokeStyle = style("--line");
    context.strokeRect(-1, top + 2, width + 2, LANE_HEIGHT - 6);
    if (lane.curve !== null) drawCurve(context, width, lane.curve, top + 3, bottom - 1, hueOf(number, 1));
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const middle = (top + bottom) / 2;
    context.lineWidth = 3;
    context.strokeStyle = style("--panel");
    context.strokeText(lane.label, 6, middle);
    context.lineWidth = 1;
    context.fillStyle = style("--text");
    context.fillText(lane.label, 6, middle);
  });
}

function drawCurve(context, width, row, top, bottom, colour) {
  const grid = data.curves;
  const first = Math.max(0, grid.columnAt(view.start) - 1);
  const last = Math.min(grid.columns, grid.columnAt(view.end) + 2);
  context.beginPath();
  let isDown = false;
  for (let column = first; column < last; column++) {
    const value = grid.value(row, column);
    if (!Number.isFinite(value)) {
      isDown = false;
      continue;
    }
    const x = xOf((column + 0.5) * grid.secondsPerColumn, width);
    const y = bottom - Math.min(1, Math.max(0, value)) * (bottom - top);
    if (isDown) context.lineTo(x, y); else context.moveTo(x, y);
    isDown = true;
  }
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.stroke();
  context.lineWidth = 1;
}

function drawAxis(context, width, height) {
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];
  const wanted = (view.end - view.start) / Math.max(2, width / 90);
  const step = steps.find((candidate) => candidate >= wanted) ?? 7200;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "top";
  context.fillStyle = style("--faint");
  for (let tick = Math.ceil(view.start / step); tick * step <= view.end; tick++) {
    const x = xOf(tick * step, width);
    context.fillRect(x, 0, 1, 5);
    const label = step >= 1 ? clockText(tick * step).replace(/\.00$/, "") : clockText(tick * step);
    const room = context.measureText(label).width;
    context.fillText(label, Math.min(Math.max(0, x - room / 2), width - room), 7);
  }
}

// Names of some rows at the left edge, over the picture.
function drawRowNames(context, height, rows, names) {
  context.font = "10px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 3;
  context.strokeStyle = "rgba(0, 0, 0, .7)";
  context.fillStyle = "#fff";
  let lastY = Infinity;
  names.forEach((name, row) => {
    const y = height - ((row + 0.5) / rows) * height;
    if (name === null || lastY - y < 13 || y < 4 || y > height - 3) return;
    context.strokeText(name, 3, y);
    context.fillText(name, 3, y);
    lastY = y;
  });
  context.lineWidth = 1;
}

// ---- The tracks

const tracks = [];

// `draw(context, width, height)` in CSS pixels; `tell(time, y)`: what is there, y from 0 at the top to 1.
function addTrack(name, height, hint, draw, tell) {
  const section = document.createElement("section");
  section.className = "track";
  const head = document.createElement("div");
  head.className = "head";
  const title = document.createElement("h2");
  title.textContent = name;
  const about = document.createElement("p");
  about.className = "hint";
  about.textContent = hint;
  head.append(title, about);
  const canvas = document.createElement("canvas");
  canvas.style.height = `${height}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", hint ? `${name}: ${hint}` : name);
  section.append(...(name ? [head] : []), canvas);
  element("tracks").append(section);
  const track = { name, canvas, height, draw, tell, head };
  tracks.push(track);
  return track;
}

function contextOf(canvas, height) {
  const width = canvas.clientWidth;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width };
}

function drawAll() {
  for (const track of tracks) {
    const { context, width } = contextOf(track.canvas, track.height);
    if (width > 0) track.draw(context, width, track.height);
  }
  drawOverview();
  placeCursor();
  for (const [id, isAtEnd] of [["zoom-out", view.end - view.start >= seconds],
    ["zoom-all", view.end - view.start >= seconds], ["zoom-in", view.end - view.start <= MIN_VIEW_SECONDS]]) {
    element(id).disabled = isAtEnd;
  }
}

let isDrawingSoon = false;
function drawSoon() {
  if (isDrawingSoon) return;
  isDrawingSoon = true;
  requestAnimationFrame(() => {
    isDrawingSoon = false;
    drawAll();
  });
}

function drawOverview() {
  const overview = element("overview");
  overview.hidden = view.end - view.start >= seconds;
  if (overview.hidden) return;
  const height = 36;
  const { context, width } = contextOf(overview, height);
  drawWaveform(context, width, height, 0, seconds);
  context.fillStyle = `rgba(${style("--word")}, .3)`;
  const left = (view.start / seconds) * width;
  const right = Math.max(left + 3, (view.end / seconds) * width);
  context.fillRect(left, 0, right - left, height);
  context.strokeStyle = style("--text");
  context.strokeRect(left + 0.5, 0.5, right - left - 1, height - 1);
}

const textAt = (texts, time) => visibleOf(texts).find(([, start, end]) => time >= start && time < end);

function tellTexts(texts) {
  return (time) => {
    const found = textAt(texts, time);
    return found ? `“${found[0]}”, ${found[1].toFixed(2)} to ${found[2].toFixed(2)} s, score ${scoreText(found[3])}` : "";
  };
}

function perColumn(grid, unit) {
  return grid.secondsPerColumn > unit * 1.001 ? `, a column is the mean of ${numberText(grid.secondsPerColumn)} s` : "";
}

function addTracks() {
  for (const name of ["waveform", "logMel", "energies", "curves"]) {
    if (data[name]) data[name] = new Grid(data[name]);
  }
  addTrack("", 22, "Time axis", drawAxis, () => "");
  addTrack("Waveform", 90, "", (context, width, height) => drawWaveform(context, width, height, view.start, view.end),
    (time) => `${numberText(data.waveform.valueAt(0, time))} to ${numberText(data.waveform.valueAt(1, time))}`);

  const mels = data.logMel;
  const NORMALISED = 2.5; // deviations from the mean that the colours reach to
  const melPicture = pictureOf(mels, (row, value) => (value + NORMALISED) / (2 * NORMALISED));
  const melNames = data.mels.map((hertz) => `${hertz} Hz`);
  addTrack("Log-mel", 130, `what the model gets: in deviations from each bin's mean${perColumn(mels, data.hopSeconds)}`,
    (context, width, height) => {
      drawPicture(context, width, height, mels, melPicture);
      drawRowNames(context, height, mels.rows, melNames.map((name, bin) => (bin % 16 === 8 ? name : null)));
    },
    (time, y) => {
      const bin = Math.floor((1 - y) * mels.rows);
      return `${melNames[bin]}: ${numberText(mels.valueAt(bin, time))}`;
    });

  addEnergies();
  if (data.words) {
    addTrack("Words", 30, "greedy decoding; the stronger the colour, the higher the score",
      (context, width, height) => drawTexts(context, width, height, data.words), tellTexts(data.words));
    addTrack("Characters", 26, "", (context, width, height) => drawCharacters(context, width, height, data.characters),
      tellTexts(data.characters));
  }
  if (data.curves) addLanes();
  if (data.parts) {
    const boxes = data.parts.map(({ start, end, labels }) =>
      [`${labels[0][0]} ${scoreText(labels[0][1])}`, start, end, labels[0][1]]);
    addTrack("Labels", 30, data.parts.length > 1 ? "of each chunk" : "of the whole recording",
      (context, width, height) => drawTexts(context, width, height, boxes),
      (time) => {
        const part = data.parts.find(({ start, end }) => time >= start && time < end) ?? data.parts[0];
        return part.labels.map(([label, score]) => `${label} ${scoreText(score)}`).join(", ");
      });
  }
}

function addEnergies() {
  const grid = data.energies;
  const scales = {
    own: (row, value) => (grid.highs[row] > grid.lows[row] ? (value - grid.lows[row]) / (grid.highs[row] - grid.lows[row]) : 0.5),
    common: (() => {
      const positive = [...grid.lows, ...grid.highs].filter((value) => value > 0);
      const low = Math.log(Math.min(...positive)), high = Math.log(Math.max(...positive));
      return (row, value) => (value > 0 && high > low ? (Math.log(value) - low) / (high - low) : 0);
    })(),
  };
  let picture = pictureOf(grid, scales.own);
  const names = Array.from({ length: grid.rows }, (_, state) => String(state));
  const track = addTrack("States", Math.max(60, Math.min(200, 12 * grid.rows)),
    `energy of hidden_states 0 to ${grid.rows - 1}, from below: the root mean square of each frame, each state by its own range${perColumn(grid, data.frameSeconds)}`,
    (context, width, height) => {
      drawPicture(context, width, height, grid, picture);
      drawRowNames(context, height, grid.rows, names);
    },
    (time, y) => {
      const state = Math.floor((1 - y) * grid.rows);
      return `hidden_states[${state}]: ${numberText(grid.valueAt(state, time))}`;
    });
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.id = "common-scale";
  label.append(box, " one logarithmic scale for all");
  track.head.append(label);
  box.addEventListener("change", () => {
    picture = pictureOf(grid, box.checked ? scales.common : scales.own);
    drawSoon();
  });
}

function addLanes() {
  const lanes = data.curveLabels.map((label, curve) =>
    ({ label, curve, segments: data.segments.filter((segment) => segment[0] === label) }));
  const others = data.segments.filter((segment) => !data.curveLabels.includes(segment[0]));
  if (others.length > 0) lanes.push({ label: "other labels", curve: null, segments: others });
  const few = data.numLabels > data.curveLabels.length ? `, the ${data.curveLabels.length} likeliest of ${data.numLabels}` : "";
  addTrack("Labels", LANE_HEIGHT * lanes.length,
    `segments, and each label's score from 0 to 1${few}${perColumn(data.curves, data.frameSeconds)}`,
    (context, width) => drawLanes(context, width, lanes),
    (time, y) => {
      const lane = lanes[Math.min(lanes.length - 1, Math.floor(y * lanes.length))];
      const inside = lane.segments.find(([, start, end]) => time >= start && time < end);
      const score = lane.curve === null ? "" : ` ${scoreText(data.curves.valueAt(lane.curve, time))}`;
      const where = inside ? `; ${inside[0]} from ${inside[1].toFixed(2)} to ${inside[2].toFixed(2)} s, score ${scoreText(inside[3])}` : "";
      return `${lane.label}${score}${where}`;
    });
}

// ---- What is written below the tracks

function cell(row, text, kind = "td", className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = className;
  row.append(made);
  return made;
}

// A table of [text, start, end, score], which is made when it is opened, and so many rows at a time: an hour has
// tens of thousands of characters.
const ROWS_AT_ONCE = 1000;
function addTable(title, what, texts) {
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = `${title} (${texts.length})`;
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of [what, "start, s", "end, s", "score"]) cell(head, name, "th").scope = "col";
  const body = table.createTBody();
  const more = document.createElement("button");
  more.type = "button";
  const addRows = () => {
    for (const text of texts.slice(body.rows.length, body.rows.length + ROWS_AT_ONCE)) addRow(body, text);
    const left = texts.length - body.rows.length;
    more.hidden = left === 0;
    more.textContent = `${Math.min(left, ROWS_AT_ONCE)} more`;
  };
  more.addEventListener("click", addRows);
  scroll.append(table, more);
  details.append(summary, scroll);
  details.addEventListener("toggle", () => {
    if (details.open && body.rows.length === 0) addRows();
  });
  element("answers").append(details);
}

function addRow(body, [text, start, end, score]) {
  const row = body.insertRow();
  cell(row, text);
  const go = document.createElement("button");
  go.type = "button";
  go.textContent = start.toFixed(2);
  go.setAttribute("aria-label", `Go to ${start.toFixed(2)} seconds`);
  go.addEventListener("click", () => seek(start));
  cell(row, "", "td", "number").append(go);
  cell(row, end.toFixed(2), "td", "number");
  cell(row, scoreText(score), "td", "number");
}

function addParagraph(text) {
  const paragraph = document.createElement("p");
  paragraph.textContent = text;
  paragraph.tabIndex = 0; // it scrolls when it is long
  element("answers").append(paragraph);
}

function addAnswers() {
  if (data.words) {
    addParagraph(data.text === "" ? "The model hears no words." : data.text);
    addTable("Words", "word", data.words);
    addTable("Characters", "character", data.characters);
  }
  if (data.segments) addTable("Segments", "label", data.segments);
  if (data.parts) {
    addTable("Labels", "label", data.parts.flatMap(({ start, end, labels }) =>
      labels.map(([label, score]) => [label, start, end, score])));
  }
  for (const [name, value] of data.facts) {
    const row = element("facts").insertRow();
    cell(row, name, "th").scope = "row";
    cell(row, value);
  }
}

// ---- Mouse and keys

function listenToPointer() {
  const container = element("tracks");
  const timeAt = (event) => {
    const box = container.getBoundingClientRect();
    return timeOf(event.clientX - box.left, box.width);
  };
  container.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest(".head")) return;
    seek(timeAt(event));
    container.setPointerCapture(event.pointerId);
  });
  container.addEventListener("pointermove", (event) => {
    if (container.hasPointerCapture(event.pointerId)) seek(timeAt(event));
    const track = tracks.find(({ canvas }) => {
      const box = canvas.getBoundingClientRect();
      return event.clientY >= box.top && event.clientY < box.bottom;
    });
    if (!track) return;
    const box = track.canvas.getBoundingClientRect();
    const time = timeAt(event);
    if (time < 0 || time > seconds) return;
    const told = track.tell(time, Math.min(0.999999, Math.max(0, (event.clientY - box.top) / box.height)));
    element("readout").textContent = [clockText(time), track.name, told].filter(Boolean).join(" · ");
  });
  container.addEventListener("wheel", (event) => {
    const along = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX;
    if (event.ctrlKey) {
      zoom(Math.exp(event.deltaY / 300), timeAt(event));
    } else if (Math.abs(along) > 0) {
      const move = (along / container.clientWidth) * (view.end - view.start);
      show(view.start + move, view.end + move);
    } else {
      return; // the page scrolls
    }
    event.preventDefault();
  }, { passive: false });

  const overview = element("overview");
  const showAround = (event) => {
    const box = overview.getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width) * seconds;
    const half = (view.end - view.start) / 2;
    show(time - half, time + half);
  };
  overview.addEventListener("pointerdown", (event) => {
    showAround(event);
    overview.setPointerCapture(event.pointerId);
  });
  overview.addEventListener("pointermove", (event) => {
    if (overview.hasPointerCapture(event.pointerId)) showAround(event);
  });
}

const KEYS = {
  " ": () => togglePlay(),
  ArrowLeft: (event) => seek(position - (event.shiftKey ? 0.1 : 1)),
  ArrowRight: (event) => seek(position + (event.shiftKey ? 0.1 : 1)),
  Home: () => seek(0),
  End: () => seek(seconds),
  "+": () => zoomAtCursor(0.5),
  "=": () => zoomAtCursor(0.5),
  "-": () => zoomAtCursor(2),
  0: () => show(0, seconds),
};

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = KEYS[event.key];
    const isRange = event.target === element("position");
    // Buttons, boxes and lists have Space for themselves; the position has the arrows.
    const isBusy = event.target.closest?.("button, input, summary, select") && !isRange;
    if (!key || (isBusy && event.key === " ") || (isRange && !" +=-0".includes(event.key))) return;
    event.preventDefault();
    key(event);
  });
  element("play").addEventListener("click", togglePlay);
  element("zoom-in").addEventListener("click", () => zoomAtCursor(0.5));
  element("zoom-out").addEventListener("click", () => zoomAtCursor(2));
  element("zoom-all").addEventListener("click", () => show(0, seconds));
  element("position").addEventListener("input", (event) => seek(Number(event.target.value)));
}

element("position").max = String(seconds);
element("summary").textContent = data.summary;
addTracks();
addAnswers();
preparePlayback();
listenToPointer();
listenToKeys();
moveTo(0);
drawAll();
new ResizeObserver(drawSoon).observe(element("tracks"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);
