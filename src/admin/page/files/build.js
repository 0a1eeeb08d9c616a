// Elements and texts. Whatever comes from the server becomes text nodes and attributes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

// build('a', { href: '#/', class: 'x', onclick: f }, 'text', element, [more], null)
export function build(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  put(element, children);
  return element;
}

function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// Replaces what an element holds, and keeps the focus on what has the same data-key.
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.dataset.key;
  const scrolls = [...element.querySelectorAll('[data-scroll]')]
    .map((one) => [one.dataset.scroll, one.scrollTop, one.scrollLeft]);
  element.replaceChildren();
  put(element, children);
  for (const [name, top, left] of scrolls) {
    const again = element.querySelector(`[data-scroll="${CSS.escape(name)}"]`);
    if (again) { again.scrollTop = top; again.scrollLeft = left; }
  }
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

// Whether somebody has selected text in there, which drawing it again would take away.
export function hasSelection(element) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(element, true);
}

// Whether an answer differs from the last one that was drawn there.
const drawn = new WeakMap();
export function isNew(element, answer) {
  if (hasSelection(element)) return false;
  const text = JSON.stringify(answer);
  if (drawn.get(element) === text) return false;
  drawn.set(element, text);
  return true;
}

export function card(title, ...children) {
  return build('section', { class: 'card' }, build('h2', {}, title), children);
}

export function tag(text, kind = '') {
  return build('span', { class: `tag ${kind}` }, text);
}

// Rows of [name, value]; a value that is null is left out.
export function facts(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined);
  return build('dl', { class: 'facts' }, shown.map(([name, value]) =>
    build('div', {}, build('dt', {}, name), build('dd', {}, value))));
}

// A table; on a narrow screen each row becomes a block whose cells have their column's name.
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return build('p', { class: 'quiet empty' }, empty);
  const head = columns.map(([name, kind]) => build('th', { scope: 'col', class: kind }, name));
  const body = rows.map((cells) => build('tr', {}, cells.map((cell, at) =>
    build('td', { class: columns[at][1], 'data-label': columns[at][0] }, build('div', {}, cell ?? '–')))));
  return build('div', { class: 'scroll' }, build('table', {},
    build('caption', { class: 'hidden' }, caption),
    build('thead', {}, build('tr', {}, head)), build('tbody', {}, body)));
}

// A line of values over time.
export class Spark {
  constructor(label, length = 90) {
    this.values = [];
    this.length = length;
    this.line = document.createElementNS(SVG, 'polyline');
    this.area = document.createElementNS(SVG, 'polygon');
    this.element = document.createElementNS(SVG, 'svg');
    for (const [name, value] of [['viewBox', '0 0 180 44'], ['preserveAspectRatio', 'none'],
      ['class', 'spark'], ['role', 'img'], ['aria-label', label]]) {
      this.element.setAttribute(name, value);
    }
    this.element.append(this.area, this.line);
  }

  add(value) {
    this.values.push(value);
    if (this.values.length > this.length) this.values.shift();
    const max = Math.max(...this.values, 1e-9);
    const step = 180 / (this.length - 1);
    const first = 180 - (this.values.length - 1) * step;
    const points = this.values.map((one, at) =>
      `${(first + at * step).toFixed(1)},${(42 - (one / max) * 38).toFixed(1)}`);
    this.line.setAttribute('points', points.join(' '));
    this.area.setAttribute('points', `${first.toFixed(1)},44 ${points.join(' ')} 180,44`);
  }
}

// ---- how figures look ----------------------------------------------------------------------------

const numbers = new Intl.NumberFormat('en-US', { maximumFractionDigits: 1 });

export const count = (value) => (value === null || value === undefined ? '–' : numbers.format(value));

export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${value >= 100 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

export function span(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export const micros = (us) => (us === null || us === undefined ? '–' : millis(us / 1000));
export const millis = (ms) => `${ms < 10 ? ms.toFixed(2) : ms.toFixed(ms < 100 ? 1 : 0)} ms`;

export function time(ms) {
  if (!ms) return '–';
  const date = new Date(ms);
  return Number.isNaN(date.getTime())
    ? `${ms} ms`
    : build('time', { datetime: date.toISOString(), title: date.toISOString() }, date.toLocaleString());
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const treeLink = (path) =>
  `#/tree${path === '/' ? '' : path.split('/').map(encodeURIComponent).join('/')}`;

// Characters that are not to be seen, or turn what stands around them, stand as escapes.
export const shown = (text) => text.replace(/[\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
  (one) => `\\u${one.charCodeAt(0).toString(16)}`);

export function pathLink(path) {
  return build('a', { href: treeLink(path), class: 'path' }, shown(path));
}

export function sessionLink(id) {
  return build('a', { href: `#/session/${encodeURIComponent(id)}`, class: 'mono' }, id);
}
